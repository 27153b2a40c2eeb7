"""Prometheus instruments made from the catalogue; imported by the roles only, for it needs the client library."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from schemas.metrics import Kind, declared

__all__ = ["counter", "gauge", "histogram", "new_registry"]


def new_registry() -> CollectorRegistry:
    """A registry that has what every role raises: the process's own CPU time, memory and files."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return registry


def counter(name: str, registry: CollectorRegistry) -> Counter:
    """The counter declared as `name`."""
    metric = declared(name, Kind.COUNTER)
    return Counter(metric.name, metric.meaning, metric.labels, registry=registry)


def gauge(name: str, registry: CollectorRegistry) -> Gauge:
    """The gauge declared as `name`."""
    metric = declared(name, Kind.GAUGE)
    return Gauge(metric.name, metric.meaning, metric.labels, registry=registry)


def histogram(name: str, registry: CollectorRegistry) -> Histogram:
    """The histogram declared as `name`."""
    metric = declared(name, Kind.HISTOGRAM)
    return Histogram(metric.name, metric.meaning, metric.labels, registry=registry, buckets=metric.buckets)
