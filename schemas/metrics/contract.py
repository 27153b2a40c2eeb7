"""What a metric's declaration says: name, kind, unit, labels, meaning, and which role raises it."""

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Kind", "Metric", "Role"]


class Kind(StrEnum):
    """Prometheus's own kinds, as its exposition format names them."""

    COUNTER = "counter"
    """Rises from 0 at the start of a process; its name ends in `_total`."""
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Role(StrEnum):
    """A process that has a metrics endpoint."""

    WORKER = "worker"
    AGENT = "agent"
    API = "api"
    POLLER = "poller"
    EVERY = "every"
    """Raised by each of them, under the same name."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric, as Prometheus sees it."""

    name: str
    """As queries name it, unit included."""
    kind: Kind
    unit: str
    """What 1 is: `messages`, `seconds`, `joules`, `bytes`, `ratio`, `1` for a state."""
    role: Role
    meaning: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    """Upper edges of a histogram's buckets, in `unit`."""
