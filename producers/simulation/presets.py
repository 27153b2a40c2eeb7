"""Builds scenarios: the shipped demo fleet from its YAML, or any trace through any engine type."""

from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from producers.simulation.engine_types import engine_type
from producers.simulation.requests import Requests, concatenate, limit_output, take
from producers.simulation.scenario import EngineSpec, NodeSpec, Scenario
from producers.simulation.servegen import draw_requests, read_clients
from producers.simulation.traces import load_azure, load_csv, load_mooncake
from schemas.errors import ConfigurationError, DataError

__all__ = ["TRACE_FORMATS", "demo_scenario", "load_trace", "sample_path", "tenant_names", "trace_scenario"]

TRACE_FORMATS = ("azure", "servegen", "mooncake", "csv")
_TENANTS_OF_A_TRACE = 30
"""Tenants to whom a trace without tenants is dealt."""


def sample_path(name: str) -> Path:
    """A data file that ships with the simulator."""
    return Path(str(files(__package__) / "data" / name))


def tenant_names() -> tuple[str, ...]:
    """Fictional tenants."""
    return tuple(sample_path("tenants.txt").read_text(encoding="utf-8").split())


def demo_scenario(*, duration_s: float | None = None, seed: int = 1) -> Scenario:
    """The fleet of data/demo.yaml over `duration_s` (its own if None), which scales its times."""
    document = yaml.safe_load(sample_path("demo.yaml").read_text(encoding="utf-8"))
    length_s = float(duration_s or document["duration_s"])
    scale = length_s / float(document["duration_s"])
    engines = tuple(
        _demo_engine(values, length_s, scale, seed + i) for i, values in enumerate(document["engines"])
    )
    return Scenario(
        cluster=document["cluster"],
        nodes=tuple(NodeSpec(**values) for values in document["nodes"]),
        engines=engines,
        duration_s=length_s,
        seed=seed,
    )


def _demo_engine(values: dict[str, Any], length_s: float, scale: float, seed: int) -> EngineSpec:
    kind = engine_type(values["type"])
    load_at_s = values.get("load_at_s")
    begin_s = 0.0
    if load_at_s is not None:
        load_at_s = load_at_s * scale
        begin_s = load_at_s + sum(seconds for seconds, _ in kind.load_phases) + values["warm_up_s"]
    pause = [second * scale for second in values.get("pause_s", (length_s, length_s))]
    active_s = length_s - begin_s - (pause[1] - pause[0])
    if active_s <= 0:
        raise ConfigurationError(
            f"duration {length_s:g} s ends before engine {values['name']} has loaded; choose a longer one"
        )
    parts = [_demo_trace(trace, active_s, seed) for trace in values["traces"]]
    requests = _delay(concatenate(parts), begin_s, pause)
    return EngineSpec(
        name=values["name"],
        node=values["node"],
        engine_type=kind,
        requests=requests,
        load_at_s=load_at_s,
        warm_up_s=values.get("warm_up_s", 0.0),
        dummy_s=tuple(second * scale for second in values.get("dummy_s", (0.0, 0.0))),
        adapters=tuple(values.get("adapters", ())),
        admitted_before=values.get("admitted_before", 0),
    )


def _demo_trace(trace: dict[str, Any], active_s: float, seed: int) -> Requests:
    first, last = trace["tenants"]
    names = tenant_names()[first:last]
    if trace["format"] == "servegen":
        clients = read_clients(sample_path("servegen_rates.csv"), sample_path("servegen_tokens.csv"))
        drawn = draw_requests(
            clients,
            names,
            duration_s=active_s,
            requests_per_s=trace["requests_per_s"],
            flatten=trace["flatten"],
            seed=seed,
        )
        return limit_output(drawn, trace["max_output_tokens"])
    path = sample_path(trace["file"])
    loader = load_azure if trace["format"] == "azure" else load_mooncake
    return _until(_paced(loader(path, names, seed=seed), trace["pace"]), active_s)


def _paced(requests: Requests, pace: float) -> Requests:
    return replace(requests, arrival_us=np.rint(requests.arrival_us / pace).astype(np.int64))


def _until(requests: Requests, duration_s: float) -> Requests:
    return take(requests, np.flatnonzero(requests.arrival_us < duration_s * 1e6))


def _delay(requests: Requests, begin_s: float, pause_s: list[float]) -> Requests:
    """Shift arrivals to begin at `begin_s`, and those after the pause's start by its length."""
    arrival = requests.arrival_us + round(begin_s * 1e6)
    arrival = arrival + np.where(arrival >= pause_s[0] * 1e6, round((pause_s[1] - pause_s[0]) * 1e6), 0)
    return replace(requests, arrival_us=arrival)


def _servegen_files(directory: Path) -> tuple[Path, Path]:
    """Rates and token lengths of ServeGen's clients, under either of their names."""
    for prefix in ("client", "servegen"):
        rates, tokens = directory / f"{prefix}_rates.csv", directory / f"{prefix}_tokens.csv"
        if rates.exists() and tokens.exists():
            return rates, tokens
    raise DataError(
        f"{directory}: no client_rates.csv with client_tokens.csv; give the directory that holds both"
    )


def load_trace(
    path: Path,
    trace_format: str,
    *,
    seed: int,
    duration_s: float | None = None,
    requests_per_s: float = 10.0,
) -> Requests:
    """Requests of `path` in one of TRACE_FORMATS, up to `duration_s`.

    For ServeGen `path` is the directory of client_rates.csv and client_tokens.csv (or servegen_*.csv); its
    clients' day is compressed into `duration_s` (300 if None) at `requests_per_s`.
    """
    names = tenant_names()[:_TENANTS_OF_A_TRACE]
    if trace_format == "servegen":
        clients = read_clients(*_servegen_files(path))
        names = tuple(f"client-{client.client_id}" for client in clients)
        length_s = duration_s or 300.0
        return draw_requests(
            clients,
            names,
            duration_s=length_s,
            requests_per_s=requests_per_s,
            flatten=1.0,
            seed=seed,
            source=str(path),
        )
    if trace_format == "azure":
        requests = load_azure(path, names, seed=seed)
    elif trace_format == "mooncake":
        requests = load_mooncake(path, names, seed=seed)
    elif trace_format == "csv":
        requests = load_csv(path)
    else:
        raise ConfigurationError(
            f"trace format {trace_format!r} is not known; choose one of {', '.join(TRACE_FORMATS)}"
        )
    return requests if duration_s is None else _until(requests, duration_s)


def trace_scenario(requests: Requests, engine: str, *, nodes: int, seed: int) -> Scenario:
    """`requests` dealt in turn to `nodes` nodes with one engine of type `engine` each."""
    kind = engine_type(engine)
    specs = tuple(NodeSpec(name=f"node-{i + 1}", zone="DE", site="simulated") for i in range(nodes))
    engines = tuple(
        EngineSpec(
            name=kind.name,
            node=node.name,
            engine_type=kind,
            requests=take(requests, np.arange(i, len(requests), nodes)),
        )
        for i, node in enumerate(specs)
    )
    last_us = int(requests.arrival_us[-1]) if len(requests) else 0
    return Scenario(cluster="replay", nodes=specs, engines=engines, duration_s=last_us / 1e6, seed=seed)
