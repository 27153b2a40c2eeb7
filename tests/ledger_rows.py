"""Ledger rows for tests: complete batches from a few figures, everything else at its type's zero."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from streams.ledger.sink import Sink
from streams.ledger.tables import arrow_schema

WINDOW_NS = 5_000_000_000
ORIGIN_NS = 1_700_000_000_000_000_000


def table(name: str, records: Sequence[Mapping[str, Any]]) -> pa.Table:
    """An Arrow table of ledger table `name`; columns that a record lacks are zero, empty or (-1, -1)."""
    schema = arrow_schema(name)
    unknown = {key for record in records for key in record} - set(schema.names)
    assert not unknown, unknown
    return pa.Table.from_pylist(
        [
            {column.name: record.get(column.name, _zero(column.type)) for column in schema}
            for record in records
        ],
        schema,
    )


def _zero(kind: pa.DataType) -> Any:
    if pa.types.is_string(kind):
        return ""
    if pa.types.is_floating(kind):
        return 0.0
    if pa.types.is_list(kind) or pa.types.is_map(kind):
        return []
    if pa.types.is_struct(kind):
        return {"1": -1, "2": -1}
    return 0


@dataclass(frozen=True)
class Request:
    """One request's share of a window."""

    ordinal: int
    energy_uj: int
    tenant: str = "acme"
    load_id: str = ""
    load_ordinal: int = 0


@dataclass(frozen=True)
class Window:
    """One batch whose books close: the meter reads the sum of what is booked."""

    number: int = 0
    group_id: str = "cluster/node/engine"
    revision: int = 0
    requests: tuple[Request, ...] = ()
    idle_uj: int = 0
    cold_starts_uj: Mapping[str, int] = field(default_factory=dict)
    """By load_id."""
    partition: int = 0
    iteration_offsets: tuple[int, int] = (-1, -1)
    energy_offsets: tuple[int, int] = (-1, -1)
    inputs: str = ""
    """16 digits: two attempts at one revision differ in it."""
    frames: int = 0
    """Energy frames that it is made of."""
    closed_by: str = ""
    process: str = ""
    """Of another process the batch has another id."""

    @property
    def start_ns(self) -> int:
        return ORIGIN_NS + self.number * WINDOW_NS

    @property
    def end_ns(self) -> int:
        return self.start_ns + WINDOW_NS

    @property
    def batch_id(self) -> str:
        return hashlib.md5(f"{self.group_id}/{self.number}{self.process}".encode()).hexdigest()

    @property
    def metered_uj(self) -> int:
        booked_uj = sum(request.energy_uj for request in self.requests)
        return booked_uj + self.idle_uj + sum(self.cold_starts_uj.values())

    def manifest_row(self) -> dict[str, Any]:
        return {
            "batch_id": self.batch_id,
            "revision": self.revision,
            "inputs": self.inputs,
            "group_id": self.group_id,
            "start_ns": self.start_ns,
            "end_ns": self.end_ns,
            "event_time": self.start_ns // 1_000_000,
            "metered_uj": self.metered_uj,
            "request_uj": sum(request.energy_uj for request in self.requests),
            "idle_uj": self.idle_uj,
            "cold_start_uj": sum(self.cold_starts_uj.values()),
            "topic_partition": self.partition,
            "iteration_offsets": dict(zip("12", self.iteration_offsets, strict=True)),
            "energy_offsets": dict(zip("12", self.energy_offsets, strict=True)),
            "energy_frames": self.frames,
            "closed_by": self.closed_by,
            "attempt": self.inputs,
        }

    def ledger_rows(self) -> list[dict[str, Any]]:
        common = {
            "batch_id": self.batch_id,
            "revision": self.revision,
            "inputs": self.inputs,
            "event_time": self.start_ns // 1_000_000,
            "group_id": self.group_id,
        }
        rows = [
            {
                **common,
                "account": "request",
                "engine_id": self.group_id,
                "incarnation": "1-a",
                "tenant": request.tenant,
                "ordinal": request.ordinal,
                "energy_uj": request.energy_uj,
                "load_id": request.load_id,
                "load_ordinal": request.load_ordinal,
            }
            for request in self.requests
        ]
        if self.idle_uj:
            rows.append({**common, "account": "idle", "ordinal": -1, "energy_uj": self.idle_uj})
        for load_id, energy_uj in self.cold_starts_uj.items():
            row = {"account": "cold_start", "ordinal": -1, "load_id": load_id, "energy_uj": energy_uj}
            rows.append({**common, **row})
        return rows

    def meter_row(self) -> dict[str, Any]:
        return {
            "batch_id": self.batch_id,
            "revision": self.revision,
            "inputs": self.inputs,
            "meter_id": "GPU-1",
            "epoch": f"{self.group_id}/{self.number}",  # each window's counter begins at zero
            "kind": "gpu",
            "event_time": self.start_ns // 1_000_000,
            "from_ns": self.start_ns,
            "from_before_ns": self.start_ns,
            "from_after_ns": self.start_ns,
            "to_ns": self.end_ns,
            "to_before_ns": self.end_ns,
            "to_before_uj": self.metered_uj,
            "to_after_ns": self.end_ns,
            "to_after_uj": self.metered_uj,
        }


def write(sink: Sink, *windows: Window, loads: Sequence[Mapping[str, Any]] = ()) -> None:
    """Book `windows` and `loads` in one flush."""
    tables = {
        "ledger": table("ledger", [row for window in windows for row in window.ledger_rows()]),
        "raw_meter": table("raw_meter", [window.meter_row() for window in windows]),
        "loads": table("loads", loads),
    }
    sink.write(tables, table("batches", [window.manifest_row() for window in windows]))


def load(
    load_id: str, *, amortised_over: int, windows: int = 1, group_id: str = "cluster/node/engine"
) -> dict[str, Any]:
    """A model load that takes the group's first `windows` windows."""
    return {
        "load_id": load_id,
        "kind": "model_load",
        "group_id": group_id,
        "engine_id": group_id,
        "incarnation": "1-a",
        "start_ns": ORIGIN_NS,
        "end_ns": ORIGIN_NS + windows * WINDOW_NS,
        "event_time": ORIGIN_NS // 1_000_000,
        "amortised_over": amortised_over,
    }
