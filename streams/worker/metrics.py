"""Every metric of the worker, in one place: name, kind, unit and meaning."""

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

__all__ = ["WorkerMetrics"]


@dataclass(frozen=True, slots=True)
class WorkerMetrics:
    """The worker's metrics on one registry."""

    registry: CollectorRegistry
    messages: Counter
    dead_letters: Counter
    late_frames: Counter
    batches: Counter
    energy_joules: Counter
    unbalanced: Counter
    held_bytes: Gauge
    ready: Gauge
    groups: Gauge
    sealed_until_seconds: Gauge
    watermark_delay_seconds: Gauge
    flush_seconds: Histogram
    insert_retries: Counter
    regime_changes: Counter
    repairs: Counter
    coverage_ratio: Gauge
    unbooked_joules: Gauge
    doubled_joules: Gauge

    @classmethod
    def create(cls) -> "WorkerMetrics":
        """A fresh set on its own registry."""
        registry = CollectorRegistry()
        return cls(
            registry=registry,
            messages=Counter("wattledger_messages", "messages received", ["topic"], registry=registry),
            dead_letters=Counter(
                "wattledger_dead_letters",
                "messages that could not be booked",
                ["topic", "reason"],
                registry=registry,
            ),
            late_frames=Counter(
                "wattledger_late_frames",
                "frames that came after their window was sealed",
                ["topic"],
                registry=registry,
            ),
            batches=Counter("wattledger_batches", "batches made durable", registry=registry),
            energy_joules=Counter(
                "wattledger_energy_joules",
                "accelerator energy booked, by account",
                ["account"],
                registry=registry,
            ),
            unbalanced=Counter(
                "wattledger_unbalanced_batches",
                "batches whose accounts did not sum to the meter: must stay 0, such a batch is never written",
                registry=registry,
            ),
            held_bytes=Gauge(
                "wattledger_held_bytes", "frames held for open windows, as on the wire", registry=registry
            ),
            ready=Gauge(
                "wattledger_ready", "1 while messages are let in: assigned and resumed", registry=registry
            ),
            groups=Gauge("wattledger_groups", "metering groups with frames in memory", registry=registry),
            sealed_until_seconds=Gauge(
                "wattledger_sealed_until_seconds",
                "event time (Unix) up to which every group of this worker is durable",
                registry=registry,
            ),
            watermark_delay_seconds=Gauge(
                "wattledger_watermark_delay_seconds",
                "age of the latest event of the last flush when it became queryable",
                registry=registry,
            ),
            flush_seconds=Histogram(
                "wattledger_flush_seconds", "booking and inserting one flush", registry=registry
            ),
            repairs=Counter(
                "wattledger_repairs",
                "late frames and counter holes dealt with: revised, unchanged or beyond_retention",
                ["outcome"],
                registry=registry,
            ),
            coverage_ratio=Gauge(
                "wattledger_coverage_ratio",
                "energy booked over what the GPUs' counters rose by, last closed hour of this worker",
                registry=registry,
            ),
            unbooked_joules=Gauge(
                "wattledger_unbooked_joules",
                "rise of counters that no window holds, last closed hour: alert if repairs leave it above 0",
                registry=registry,
            ),
            doubled_joules=Gauge(
                "wattledger_doubled_joules",
                "rise of counters that two windows hold, last closed hour: must stay 0",
                registry=registry,
            ),
            regime_changes=Counter(
                "wattledger_regime_changes",
                "engine classes whose energy changed under their model, which was fitted anew at once",
                ["engine_class"],
                registry=registry,
            ),
            insert_retries=Counter(
                "wattledger_insert_retries",
                "flushes tried again after the database failed",
                registry=registry,
            ),
        )
