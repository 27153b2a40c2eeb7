"""Requests R = {(p_i, d_i)} with arrival times and tenants: a trace's file, a shipped sample, or drawn."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from producers.simulation.presets import load_trace, sample_path
from producers.simulation.requests import Requests, from_columns, limit_output, take
from schemas.errors import ConfigurationError, DataError

__all__ = ["SAMPLES", "SYNTHETIC", "Workload", "load_workload", "trace_format"]

SYNTHETIC: Final = "synthetic"
SAMPLES: Final = {
    "sample:azure": ("azure_code.csv", "azure"),
    "sample:mooncake": ("mooncake.jsonl", "mooncake"),
    "sample:servegen": (".", "servegen"),
}
"""Traces that ship with wattledger: name → (file, format)."""
_SYNTHETIC_TENANTS: Final = 8


@dataclass(frozen=True, slots=True)
class Workload:
    """Which requests; None leaves the trace as it is."""

    trace: str
    """A path, a name in SAMPLES, or `synthetic`."""
    trace_format: str | None = None
    """azure, mooncake, servegen or csv; None: told from the file."""
    requests: int | None = None
    """Only the first so many."""
    pace: float = 1.0
    """Played so much faster than recorded."""
    requests_per_s: float = 4.0
    """Rate of drawn traces (ServeGen, synthetic), before `pace`."""
    max_output_tokens: int | None = None
    """As if every client had asked for at most so many."""


def load_workload(workload: Workload, *, seed: int) -> Requests:
    """The requests of a workload; DataError names file, line, column and remedy."""
    count = workload.requests
    if workload.trace == SYNTHETIC:
        requests = _synthetic(count or 200, workload.requests_per_s, seed)
    else:
        path, kind = _located(workload)
        # A drawn trace is drawn long enough; a recorded one is cut.
        duration_s = None if count is None else 1.5 * count / workload.requests_per_s + 10.0
        requests = load_trace(
            path,
            kind,
            seed=seed,
            duration_s=duration_s if kind == "servegen" else None,
            requests_per_s=workload.requests_per_s,
        )
    if count is not None:
        requests = take(requests, np.arange(min(count, len(requests))))
    if not len(requests):
        raise DataError(f"{workload.trace}: holds no request; give a trace with at least one")
    if workload.max_output_tokens is not None:
        requests = limit_output(requests, workload.max_output_tokens)
    first = int(requests.arrival_us[0])
    arrivals = np.rint((requests.arrival_us - first) / workload.pace).astype(np.int64)
    return replace(requests, arrival_us=arrivals)


def _located(workload: Workload) -> tuple[Path, str]:
    if workload.trace in SAMPLES:
        name, kind = SAMPLES[workload.trace]
        return (sample_path(name), kind)
    path = Path(workload.trace)
    if not path.exists():
        raise DataError(
            f"{workload.trace}: no such trace; give a file, or one of {', '.join([*SAMPLES, SYNTHETIC])}"
        )
    return path, workload.trace_format or trace_format(path)


def trace_format(path: Path) -> str:
    """The format of a trace, from its first line; ConfigurationError if it is none that is known."""
    if path.is_dir():
        return "servegen"
    try:
        with path.open(encoding="utf-8-sig") as file:
            head = file.readline(10_000)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); give a UTF-8 text file") from error
    if head.lstrip().startswith("{"):
        return "mooncake"
    if "TIMESTAMP" in head or "ContextTokens" in head or "GeneratedTokens" in head:
        return "azure"
    if "arrival_s" in head or "prompt_tokens" in head:
        return "csv"
    raise ConfigurationError(
        f"{path}:1: cannot tell the format from {head[:60].strip()!r}; name it with --format, or give a CSV with "
        "the columns arrival_s, prompt_tokens, output_tokens, tenant"
    )


def _synthetic(count: int, requests_per_s: float, seed: int) -> Requests:
    """Poisson arrivals, log-normal lengths (median 400 and 120 tokens), tenants weighted 1/rank."""
    rng = np.random.default_rng(seed)
    arrivals = np.cumsum(rng.exponential(1e6 / requests_per_s, count)).astype(np.int64)
    prompts = np.clip(rng.lognormal(np.log(400), 1.0, count), 1, 16_000).astype(np.int32)
    outputs = np.clip(rng.lognormal(np.log(120), 0.8, count), 1, 2_000).astype(np.int32)
    weights = 1.0 / np.arange(1, _SYNTHETIC_TENANTS + 1)
    return from_columns(
        arrivals,
        prompts,
        outputs,
        tenants=tuple(f"tenant-{i + 1}" for i in range(_SYNTHETIC_TENANTS)),
        tenant=rng.choice(_SYNTHETIC_TENANTS, count, p=weights / weights.sum()).astype(np.int32),
        source=SYNTHETIC,
    )
