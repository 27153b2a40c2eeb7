"""The metrics of `wattledger worker`."""

from typing import Final

from schemas.metrics.contract import Kind, Metric, Role

__all__ = ["WORKER"]

FRESHNESS_EDGES_S: Final = (0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)
"""2 s is what is promised beyond the window; 5 s is where the alert begins; the rest tells how bad it is."""
FLUSH_EDGES_S: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""An insert has 4 to 10 ms of fixed cost; a database that is away is waited for, and shows in the last ones."""


def _counter(name: str, unit: str, meaning: str, *labels: str) -> Metric:
    return Metric(f"wattledger_{name}_total", Kind.COUNTER, unit, Role.WORKER, meaning, labels)


def _gauge(name: str, unit: str, meaning: str, *labels: str) -> Metric:
    return Metric(f"wattledger_{name}", Kind.GAUGE, unit, Role.WORKER, meaning, labels)


def _histogram(name: str, unit: str, meaning: str, edges: tuple[float, ...]) -> Metric:
    return Metric(f"wattledger_{name}", Kind.HISTOGRAM, unit, Role.WORKER, meaning, buckets=edges)


WORKER: Final = (
    _counter("messages", "messages", "received, good or bad", "topic"),
    _counter("dead_letters", "messages", "could not be booked and were set aside", "topic", "reason"),
    _counter(
        "late_frames", "frames", "came after their window was sealed; the repair job takes them", "topic"
    ),
    _counter("batches", "batches", "made durable"),
    _counter("energy_joules", "joules", "accelerator energy booked, by account", "account"),
    _counter(
        "modelled_joules",
        "joules",
        "what the energy models expected of the iterations booked; compare with the accounts request and overhead",
    ),
    _counter(
        "residual_joules",
        "joules",
        "by how much a batch's expectation missed what its meter says of its iterations, without sign, summed",
    ),
    _counter("gap_seconds", "seconds", "time of groups without iteration data, by an identified cause"),
    _counter("unmetered_seconds", "seconds", "GPU time that no counter covers: nobody's energy"),
    _counter(
        "unbalanced_batches",
        "batches",
        "accounts did not sum to the meter: must stay 0, such a batch is never written",
    ),
    _counter("insert_retries", "flushes", "tried again after the database or the broker failed"),
    _counter(
        "regime_changes",
        "changes",
        "the energy of an engine class changed under its model, which was fitted anew at once",
        "engine_class",
    ),
    _counter(
        "repairs",
        "causes",
        "late frames and counter holes dealt with: revised, unchanged or beyond_retention",
        "outcome",
    ),
    _counter("own_joules", "joules", "this worker's own energy: its CPU seconds times the stated W per core"),
    _gauge("held_bytes", "bytes", "frames held for open windows, as on the wire"),
    _gauge("ready", "1", "1 while messages are let in: assigned and resumed"),
    _gauge("groups", "groups", "metering groups with frames in memory"),
    _gauge(
        "sealed_until_seconds",
        "seconds",
        "event time (Unix) up to which every group of this worker is durable",
    ),
    _gauge(
        "watermark_delay_seconds",
        "seconds",
        "age of the latest event of the last flush when it became queryable",
    ),
    _gauge(
        "coverage_ratio",
        "ratio",
        "energy booked over what the GPUs' counters rose by, last closed hour of this worker",
    ),
    _gauge(
        "unbooked_joules",
        "joules",
        "rise of counters that no window holds, last closed hour: repairs bring it back to 0",
    ),
    _gauge(
        "doubled_joules", "joules", "rise of counters that two windows hold, last closed hour: must stay 0"
    ),
    _histogram("flush_seconds", "seconds", "booking and inserting one flush", FLUSH_EDGES_S),
    _histogram(
        "freshness_seconds",
        "seconds",
        "from a window's end to the moment its batch can be queried",
        FRESHNESS_EDGES_S,
    ),
)
"""In order: what was counted, what is, how long it takes."""
