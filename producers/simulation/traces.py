"""Loads real traces: Azure's CSV, Mooncake's JSON lines, and a CSV of one's own (ServeGen: servegen.py).

A trace that names no tenants has its requests dealt to them by a seeded draw with weights 1/rank: some
tenants send much, most send little.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from producers.simulation.requests import Requests, from_columns
from producers.simulation.row_checks import arrival_us, token_count
from producers.simulation.tables import read_rows, real, timestamp_us, whole
from schemas.errors import DataError

__all__ = ["load_azure", "load_csv", "load_mooncake"]

MOONCAKE_BLOCK_TOKENS = 512
"""Mooncake hashes prompts in blocks of 512 tokens (FAST'25 release notes)."""


def load_azure(path: Path, tenants: Sequence[str], *, seed: int) -> Requests:
    """An Azure LLM inference trace: TIMESTAMP, ContextTokens, GeneratedTokens."""
    times: list[int] = []
    prompts, outputs, lines = [], [], []
    for line, row in read_rows(path, ("TIMESTAMP", "ContextTokens", "GeneratedTokens")):
        arrived = timestamp_us(path, line, row, "TIMESTAMP")
        times.append(arrival_us(path, line, "TIMESTAMP", arrived, times))
        prompts.append(_tokens(path, line, row, "ContextTokens"))
        outputs.append(_tokens(path, line, row, "GeneratedTokens"))
        lines.append(line)
    columns = ("ContextTokens", "GeneratedTokens")
    return _dealt(path, times, prompts, outputs, lines, tenants, seed, columns)


def load_csv(path: Path) -> Requests:
    """A CSV of one's own: arrival_s, prompt_tokens, output_tokens, tenant."""
    times: list[int] = []
    prompts, outputs, names, lines = [], [], [], []
    for line, row in read_rows(path, ("arrival_s", "prompt_tokens", "output_tokens", "tenant")):
        times.append(arrival_us(path, line, "arrival_s", real(path, line, row, "arrival_s") * 1e6, times))
        prompts.append(_tokens(path, line, row, "prompt_tokens"))
        outputs.append(_tokens(path, line, row, "output_tokens"))
        names.append(_tenant(path, line, row))
        lines.append(line)
    tenants = tuple(dict.fromkeys(names))
    column = {name: i for i, name in enumerate(tenants)}
    return from_columns(
        _from_zero(times, path),
        prompts,
        outputs,
        tenants=tenants,
        tenant=[column[name] for name in names],
        source=str(path),
        lines=lines,
    )


def load_mooncake(path: Path, tenants: Sequence[str], *, seed: int) -> Requests:
    """A Mooncake trace, one JSON object a line: timestamp (ms), input_length, output_length, hash_ids."""
    times: list[int] = []
    prompts, outputs, blocks, lines = [], [], [], []
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); give a UTF-8 file of JSON lines") from error
    for line, content in enumerate(text.splitlines(), start=1):
        try:
            record = json.loads(content)
            times.append(arrival_us(path, line, "timestamp", record["timestamp"] * 1000, times))
            prompts.append(token_count(path, line, "input_length", record["input_length"]))
            outputs.append(token_count(path, line, "output_length", record["output_length"]))
            blocks.append(tuple(int(block) for block in record["hash_ids"]))
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(
                f"{path}:{line}: {error!r}; each line must be a JSON object with timestamp, input_length, "
                "output_length and hash_ids"
            ) from error
        lines.append(line)
    columns = ("input_length", "output_length")
    return _dealt(path, times, prompts, outputs, lines, tenants, seed, columns, MOONCAKE_BLOCK_TOKENS, blocks)


def _tokens(path: Path, line: int, row: dict[str, str], column: str) -> int:
    return token_count(path, line, column, whole(path, line, row, column))


def _tenant(path: Path, line: int, row: dict[str, str]) -> str:
    if not row["tenant"]:
        raise DataError(f"{path}:{line}: column tenant is empty; name the tenant or remove the row")
    return row["tenant"]


def _dealt(
    path: Path,
    times: list[int],
    prompts: list[int],
    outputs: list[int],
    lines: list[int],
    tenants: Sequence[str],
    seed: int,
    columns: tuple[str, str],
    block_tokens: int = 0,
    blocks: list[tuple[int, ...]] | None = None,
) -> Requests:
    """Requests of a trace without tenants, dealt to `tenants` with weights 1/rank."""
    weights = 1.0 / np.arange(1, len(tenants) + 1)
    rng = np.random.default_rng(seed)
    tenant = rng.choice(len(tenants), size=len(times), p=weights / weights.sum())
    return from_columns(
        _from_zero(times, path),
        prompts,
        outputs,
        tenants=tuple(tenants),
        tenant=tenant.astype(np.int32),
        block_tokens=block_tokens,
        blocks=blocks,
        source=str(path),
        lines=lines,
        columns=columns,
    )


def _from_zero(times_us: list[int], path: Path) -> NDArray[np.int64]:
    if not times_us:
        raise DataError(f"{path}: holds no request; give a trace with at least one row below the header")
    return np.asarray(times_us, np.int64) - times_us[0]
