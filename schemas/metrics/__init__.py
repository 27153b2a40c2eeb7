"""Every metric that wattledger raises, declared once: endpoints, docs/metrics.md and alerts are made from it."""

from typing import Final

from schemas.metrics.agent import AGENT
from schemas.metrics.contract import Kind, Metric, Role
from schemas.metrics.services import API, EVERY, POLLER
from schemas.metrics.worker import WORKER

__all__ = ["CATALOGUE", "Kind", "Metric", "Role", "declared"]

CATALOGUE: Final[dict[str, Metric]] = {
    metric.name: metric for metric in (*WORKER, *AGENT, *API, *POLLER, *EVERY)
}
"""By name."""


def declared(name: str, kind: Kind) -> Metric:
    """The metric called `name`; KeyError or AssertionError where it is not declared as this kind."""
    metric = CATALOGUE[name]
    assert metric.kind is kind, f"{name} is declared a {metric.kind}"
    return metric
