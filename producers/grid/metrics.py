"""The grid poller's metrics, as `schemas.metrics.services` declares them."""

import time

from prometheus_client import CollectorRegistry

from producers.grid.poller import Polled
from schemas.metrics.instruments import counter, gauge

__all__ = ["PollerMetrics"]


class PollerMetrics:
    """One poller's instruments."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.intensities = counter("wattledger_poller_intensities_total", registry)
        self.failed_zones = gauge("wattledger_poller_failed_zones", registry)
        self.last_round_seconds = gauge("wattledger_poller_last_round_seconds", registry)

    def count(self, source: str, done: Polled) -> None:
        """Count one round of `source` that has just ended."""
        self.intensities.labels(source).inc(done.published)
        self.failed_zones.labels(source).set(len(done.failures))
        self.last_round_seconds.labels(source).set(time.time())
