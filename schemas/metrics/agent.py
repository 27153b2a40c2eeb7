"""The metrics of `wattledger agent`."""

from typing import Final

from schemas.metrics.contract import Kind, Metric, Role

__all__ = ["AGENT"]


def _counter(name: str, unit: str, meaning: str, *labels: str) -> Metric:
    return Metric(f"wattledger_agent_{name}_total", Kind.COUNTER, unit, Role.AGENT, meaning, labels)


def _gauge(name: str, unit: str, meaning: str, *labels: str) -> Metric:
    return Metric(f"wattledger_agent_{name}", Kind.GAUGE, unit, Role.AGENT, meaning, labels)


AGENT: Final = (
    _counter("frames", "frames", "spooled: iterations or energy", "stream"),
    _counter("frames_repeated", "frames", "sent again by a hook after a reconnection, taken once"),
    _counter("frames_missing", "frames", "never sent by a hook: holes in its sequence", "engine"),
    _counter("hooks_off", "hooks", "switched themselves off; their engine's energy is unobserved", "engine"),
    _counter(
        "spool_joined_frames", "frames", "joined with their neighbours for want of room; nothing is lost"
    ),
    _counter(
        "spool_lost_frames",
        "frames",
        "given up because the spool was full, down to their sums",
        "stream",
        "worth",
    ),
    _gauge("engines", "engines", "connected"),
    _gauge("meter_up", "1", "1 while the meter can be read", "meter"),
    _gauge(
        "gpu_claims",
        "GPUs",
        "held, as engines say, by what NVML's process list says: confirmed, shared, contradicted, unknown",
        "state",
    ),
    _gauge("rejected_connections", "connections", "turned away or cut off since the start"),
    _gauge(
        "spool_disk_failing", "1", "1 while the spool's disk takes nothing: frames wait in the agent's memory"
    ),
    _gauge("spool_bytes", "bytes", "waiting for Kafka"),
    _gauge("spool_messages", "messages", "waiting for Kafka"),
    _gauge("spool_oldest_seconds", "seconds", "age of the oldest message that waits"),
    _gauge("published_messages", "messages", "acknowledged by Kafka since the start"),
)
"""Counters first, then what is now."""
