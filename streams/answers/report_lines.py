"""A tenant's requests over a period, read once and added up by model, by hour and by request."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from streams.answers import report_queries as queries
from streams.answers.spans import Spans

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["HourLine", "ModelLine", "RequestRows", "hour_lines", "model_lines", "percentiles", "read_rows"]

Ints = NDArray[np.int64]

SHORTER: Final = 0.2
"""The part of an answer that "stopping a fifth earlier" leaves out."""


@dataclass(frozen=True, slots=True)
class ModelLine:
    """What the tenant asked of one model. Microjoules of accelerators unless the name says host."""

    model: str
    requests: int
    prompt_tokens: int
    cached_tokens: int
    prefill_tokens: int
    decode_tokens: int
    emitted_tokens: int
    energy_uj: int
    half_width_uj: int
    """Half width of the 90 % interval; errors taken as common to all requests: an upper bound."""
    host_uj: int
    held_ns: int
    """Iteration time, shared with the batches."""
    tier: int
    methods: tuple[str, ...]
    model_versions: tuple[str, ...]
    saved_by_halved_prompts_uj: float
    """What prompts of half the length would have saved, by the energy model, scaled to the meter."""
    saved_by_shorter_answers_uj: float
    """What stopping after four fifths of the tokens would have saved."""
    token_price_uj: float
    """What a price per token would have charged in place of `energy_uj`."""


@dataclass(frozen=True, slots=True)
class HourLine:
    """One model in one hour."""

    hour: str
    model: str
    requests: int
    energy_uj: int
    half_width_uj: int
    host_uj: int
    prefill_tokens: int
    decode_tokens: int
    emitted_tokens: int


@dataclass(frozen=True, slots=True)
class RequestRows:
    """N rows, one per request, model and hour; columns as `report_queries.REQUESTS` names them."""

    columns: dict[str, NDArray[Any]]

    def __len__(self) -> int:
        return len(self.columns["uj"])

    def chosen(self, where: NDArray[np.bool_]) -> "RequestRows":
        """The rows for which `where` (N,) is true."""
        return RequestRows({name: values[where] for name, values in self.columns.items()})

    def total(self, name: str) -> int:
        """The exact sum of an integer column, beyond 64 bits too."""
        values: Ints = self.columns[name].astype(np.int64)
        return (int((values >> 32).sum()) << 32) + int((values & 0xFFFFFFFF).sum())

    def per_request(self, name: str) -> "tuple[Ints, NDArray[np.intp]]":
        """(values of the first row of each request, index of each row's request)."""
        _, first, index = np.unique(self.columns["request"], return_index=True, return_inverse=True)
        return self.columns[name][first], index


def read_rows(client: "Client", asked: dict[str, Any], rolled: Spans, left: Spans) -> RequestRows:
    """Read the tenant's rows: of the spans `rolled` from rollups, of those `left` from the ledger.

    asked: tenant and as_of. A row is of one whole or partial hour, so that none of one is in the other.
    """
    parts = [
        client.query_arrow(query, parameters=asked | spans.parameters, use_strings=True)
        for query, spans in ((queries.REQUESTS_ROLLED, rolled), (queries.REQUESTS, left))
        if spans
    ]
    columns = {
        name: np.concatenate([part.column(name).to_numpy(zero_copy_only=False) for part in parts])
        for name in parts[0].column_names
    }
    return RequestRows(columns)


def model_lines(
    rows: RequestRows, fleet: dict[str, tuple[int, int, int]], output_weight: float
) -> tuple[ModelLine, ...]:
    """By model, the largest first; `fleet` has (microjoules, prompt tokens, tokens emitted) of all tenants."""
    lines = [_model_line(model, part, fleet[model], output_weight) for model, part in _by(rows, "model")]
    return tuple(sorted(lines, key=lambda line: (-line.energy_uj, line.model)))


def _model_line(
    model: str, rows: RequestRows, fleet: tuple[int, int, int], output_weight: float
) -> ModelLine:
    prompts, index = rows.per_request("prompt")
    cached, _ = rows.per_request("cached")
    prompt_tokens, emitted_tokens, energy_uj = int(prompts.sum()), rows.total("emitted"), rows.total("uj")
    halved, prefilled, drawn = (
        np.bincount(index, rows.columns[name].astype(np.float64)) for name in ("halved", "prefilled", "uj")
    )
    fleet_uj, fleet_prompt, fleet_emitted = fleet
    fleet_billed = fleet_prompt + output_weight * fleet_emitted
    billed = prompt_tokens + output_weight * emitted_tokens
    return ModelLine(
        model=model,
        requests=len(prompts),
        prompt_tokens=prompt_tokens,
        cached_tokens=int(cached.sum()),
        prefill_tokens=rows.total("prefill"),
        decode_tokens=rows.total("decode"),
        emitted_tokens=emitted_tokens,
        energy_uj=energy_uj,
        half_width_uj=rows.total("half_width"),
        host_uj=rows.total("host"),
        held_ns=rows.total("held"),
        tier=int(rows.columns["tier"].min()),
        methods=_names(rows.columns["methods"]),
        model_versions=_names(rows.columns["versions"]),
        saved_by_halved_prompts_uj=float(np.minimum(halved, drawn).sum()),
        saved_by_shorter_answers_uj=float((SHORTER * np.maximum(drawn - prefilled, 0.0)).sum()),
        token_price_uj=fleet_uj * billed / fleet_billed if fleet_billed else float(energy_uj),
    )


def hour_lines(rows: RequestRows) -> tuple[HourLine, ...]:
    """By hour and model, in order; one tenant's hour fits 64 bits."""
    if not len(rows):
        return ()
    models, model = np.unique(rows.columns["model"].astype(str), return_inverse=True)
    hour = rows.columns["hour"].astype(np.int64)
    order = np.lexsort((model, hour))
    hour, model = hour[order], model[order]
    first = np.flatnonzero(np.concatenate(([True], (np.diff(hour) != 0) | (np.diff(model) != 0))))
    requests = np.diff(np.append(first, len(order)))
    names = ("uj", "half_width", "host", "prefill", "decode", "emitted")
    sums = [np.add.reduceat(rows.columns[name].astype(np.int64)[order], first).tolist() for name in names]
    return tuple(
        HourLine(datetime.fromtimestamp(second, UTC).isoformat(), str(models[which]), *figures)
        for second, which, *figures in zip(
            hour[first].tolist(), model[first].tolist(), requests.tolist(), *sums, strict=True
        )
    )


def percentiles(rows: RequestRows) -> dict[str, int]:
    """Energy of a request, microjoules: p50, p90, p99 and max; {} without requests."""
    if not len(rows):
        return {}
    _, index = rows.per_request("uj")
    drawn = np.sort(np.bincount(index, rows.columns["uj"].astype(np.float64)))
    # Nearest rank: a figure that some request has.
    at = {
        name: max(0, int(np.ceil(share * len(drawn))) - 1)
        for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))
    }
    return {name: int(drawn[place]) for name, place in at.items()} | {"max": int(drawn[-1])}


def _by(rows: RequestRows, name: str) -> "Iterator[tuple[Any, RequestRows]]":
    values = rows.columns[name]
    for value in np.unique(values):
        yield value, rows.chosen(values == value)


def _names(joined: NDArray[Any]) -> tuple[str, ...]:
    return tuple(sorted({name for text in set(joined.tolist()) for name in text.split(" ") if name}))
