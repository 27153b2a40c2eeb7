"""The metrics' catalogue and the docs say the same."""

from pathlib import Path

from prometheus_client import CollectorRegistry

from producers.agent.metrics import Metrics

DOCS = Path(__file__).parents[2] / "docs" / "agent.md"


def test_every_metric_is_in_the_docs() -> None:
    registry = CollectorRegistry()
    Metrics(registry)
    text = DOCS.read_text(encoding="utf-8")
    for family in registry.collect():
        name = family.name.removeprefix("wattledger_agent_") + ("_total" if family.type == "counter" else "")
        assert f"`{name}" in text, name
