"""The catalogue of metrics is what the roles raise, what the docs show and what the alerts ask."""

import ast
import re
from collections.abc import Callable
from pathlib import Path

import promql_parser
import pytest
from prometheus_client import CollectorRegistry

from producers.agent.metrics import Metrics
from producers.grid.metrics import PollerMetrics
from schemas.metrics import CATALOGUE, Kind, Role
from schemas.metrics.instruments import counter, new_registry
from schemas.metrics.objectives import OBJECTIVES
from streams.answers.metrics import ApiMetrics
from streams.worker.metrics import WorkerMetrics
from tools.metrics import ALERTS, DOCUMENT, alerts, document

ROOT = Path(__file__).parents[2]
RULES = [alert for objective in OBJECTIVES for alert in objective.alerts]


def registry_of(make: Callable[[CollectorRegistry], object]) -> CollectorRegistry:
    registry = new_registry()
    make(registry)
    return registry


def raised(registry: CollectorRegistry) -> dict[str, str]:
    """Name, as queries know it, to kind."""
    found = {}
    for family in registry.collect():
        found[family.name + ("_total" if family.type == "counter" else "")] = family.type
    return found


@pytest.mark.parametrize(
    ("role", "make"),
    [
        (Role.WORKER, lambda: WorkerMetrics.create().registry),
        (Role.AGENT, lambda: registry_of(Metrics)),
        (Role.API, lambda: registry_of(ApiMetrics)),
        (Role.POLLER, lambda: registry_of(PollerMetrics)),
    ],
)
def test_a_role_raises_what_the_catalogue_says_of_it_and_nothing_else(
    role: Role, make: Callable[[], CollectorRegistry]
) -> None:
    expected = {one.name: str(one.kind) for one in CATALOGUE.values() if one.role in (role, Role.EVERY)}
    assert raised(make()) == expected


def test_names_follow_prometheus_and_say_their_unit() -> None:
    for metric in CATALOGUE.values():
        assert re.fullmatch(r"[a-z][a-z0-9_]*", metric.name)
        assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER), metric.name
        assert bool(metric.buckets) == (metric.kind is Kind.HISTOGRAM), metric.name
        if metric.unit in ("seconds", "joules", "bytes", "ratio"):
            assert metric.unit in metric.name, metric.name


def test_no_instrument_is_made_beside_the_catalogue() -> None:
    beside = []
    for room in ("schemas", "producers", "streams", "wattledger"):
        for path in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                named = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id
                if named in ("Counter", "Gauge", "Histogram", "Summary", "Info") and (
                    "prometheus_client" in path.read_text()
                ):
                    beside.append(str(path.relative_to(ROOT)))
    beside_ours = {
        "streams/answers/gauges.py"
    }  # the ledger's figures under OpenCost's names: answers, not us
    assert set(beside) == {"schemas/metrics/instruments.py"} | beside_ours


def test_an_undeclared_metric_cannot_be_made() -> None:
    with pytest.raises(KeyError):
        counter("wattledger_surprises_total", CollectorRegistry())
    with pytest.raises(AssertionError, match="declared a gauge"):
        counter("wattledger_ready", CollectorRegistry())


def test_docs_and_alert_rules_are_as_generated() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == document(), "run `make generate`"
    assert ALERTS.read_text(encoding="utf-8") == alerts(), "run `make generate`"


@pytest.mark.parametrize("alert", RULES, ids=lambda alert: alert.name)
def test_an_alert_is_promql_over_declared_metrics_and_has_a_runbook(alert) -> None:
    promql_parser.parse(alert.expression)
    for name in re.findall(r"\b(?:wattledger|process)_[a-z_]+", alert.expression):
        base = re.sub(r"_(bucket|count|sum)$", "", name)
        assert base in CATALOGUE, name
    for label in re.findall(r"\{(\w+)=", alert.expression):
        assert label == "le" or any(label in metric.labels for metric in CATALOGUE.values())
    runbook = (ROOT / "docs" / "operations" / alert.runbook).read_text()
    for part in ("Symptom", "Check", "Action", "Verification"):
        assert part in runbook, f"{alert.runbook} has no {part}"


def test_every_objective_is_measured_by_what_parses_and_guarded_by_an_alert() -> None:
    for objective in OBJECTIVES:
        promql_parser.parse(objective.measure)
        assert objective.alerts
    assert {"freshness", "coverage", "residual", "dead letters", "spool", "gaps"} <= {
        objective.name for objective in OBJECTIVES
    }
    assert len({alert.name for alert in RULES}) == len(RULES)
