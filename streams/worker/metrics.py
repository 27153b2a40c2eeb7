"""The worker's metrics on one registry, as `schemas.metrics.worker` declares them."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from schemas.metrics.instruments import counter, gauge, histogram, new_registry
from streams.batch import ACCOUNTS, Batch

__all__ = ["WorkerMetrics"]


@dataclass(frozen=True, slots=True)
class WorkerMetrics:
    """One worker's instruments; what each means stands in the catalogue."""

    registry: CollectorRegistry
    messages: Counter
    dead_letters: Counter
    late_frames: Counter
    batches: Counter
    energy_joules: Counter
    modelled_joules: Counter
    residual_joules: Counter
    gap_seconds: Counter
    unmetered_seconds: Counter
    unbalanced: Counter
    insert_retries: Counter
    regime_changes: Counter
    repairs: Counter
    own_joules: Counter
    held_bytes: Gauge
    ready: Gauge
    groups: Gauge
    sealed_until_seconds: Gauge
    watermark_delay_seconds: Gauge
    coverage_ratio: Gauge
    unbooked_joules: Gauge
    doubled_joules: Gauge
    flush_seconds: Histogram
    freshness_seconds: Histogram

    @classmethod
    def create(cls) -> "WorkerMetrics":
        """A fresh set on its own registry."""
        registry = new_registry()
        return cls(
            registry=registry,
            messages=counter("wattledger_messages_total", registry),
            dead_letters=counter("wattledger_dead_letters_total", registry),
            late_frames=counter("wattledger_late_frames_total", registry),
            batches=counter("wattledger_batches_total", registry),
            energy_joules=counter("wattledger_energy_joules_total", registry),
            modelled_joules=counter("wattledger_modelled_joules_total", registry),
            residual_joules=counter("wattledger_residual_joules_total", registry),
            gap_seconds=counter("wattledger_gap_seconds_total", registry),
            unmetered_seconds=counter("wattledger_unmetered_seconds_total", registry),
            unbalanced=counter("wattledger_unbalanced_batches_total", registry),
            insert_retries=counter("wattledger_insert_retries_total", registry),
            regime_changes=counter("wattledger_regime_changes_total", registry),
            repairs=counter("wattledger_repairs_total", registry),
            own_joules=counter("wattledger_own_joules_total", registry),
            held_bytes=gauge("wattledger_held_bytes", registry),
            ready=gauge("wattledger_ready", registry),
            groups=gauge("wattledger_groups", registry),
            sealed_until_seconds=gauge("wattledger_sealed_until_seconds", registry),
            watermark_delay_seconds=gauge("wattledger_watermark_delay_seconds", registry),
            coverage_ratio=gauge("wattledger_coverage_ratio", registry),
            unbooked_joules=gauge("wattledger_unbooked_joules", registry),
            doubled_joules=gauge("wattledger_doubled_joules", registry),
            flush_seconds=histogram("wattledger_flush_seconds", registry),
            freshness_seconds=histogram("wattledger_freshness_seconds", registry),
        )

    def count_batches(self, batches: Sequence[Batch]) -> None:
        """Count batches that have just become durable."""
        if not batches:
            return
        now_s = time.time()
        for batch in batches:
            booked_uj = {account: batch.account_uj(account) for account in ACCOUNTS}
            for account, energy_uj in booked_uj.items():
                self.energy_joules.labels(account).inc(energy_uj / 1e6)
            if batch.metered_uj:
                ran_uj = booked_uj["request"] + booked_uj["overhead"]
                self.modelled_joules.inc(batch.modelled_uj / 1e6)
                self.residual_joules.inc(abs(ran_uj - batch.modelled_uj) / 1e6)
            self.freshness_seconds.observe(now_s - batch.end_ns / 1e9)
            self.gap_seconds.inc(batch.gap_ns / 1e9)
            self.unmetered_seconds.inc(batch.unmetered_ns / 1e9)
        self.batches.inc(len(batches))
        self.watermark_delay_seconds.set(now_s - max(batch.end_ns for batch in batches) / 1e9)
