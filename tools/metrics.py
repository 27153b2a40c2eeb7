"""Writes docs/metrics.md and the chart's alert rules from the catalogue: `python -m tools.metrics`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import yaml

from schemas.metrics import CATALOGUE, Role
from schemas.metrics.objectives import OBJECTIVES, Objective

__all__ = ["ALERTS", "DOCUMENT", "alerts", "document"]

ROOT: Final = Path(__file__).parent.parent
DOCUMENT: Final = ROOT / "docs" / "metrics.md"
ALERTS: Final = ROOT / "helm" / "wattledger" / "files" / "alerts.yaml"

HEAD: Final = """\
# Metrics, objectives, alerts

Written by `make generate` from `schemas/metrics`, from which the endpoints are made as well. Every role answers
Prometheus at `/metrics`:

| role | where |
|---|---|
| `wattledger worker` | `--metrics-port`, none unless set |
| `wattledger agent` | `--metrics-port`, 9477 |
| `wattledger api` | `--metrics-port`, a port of its own: none unless set, never the tenants' |
| `wattledger factors poll` | `--metrics-port`, none unless set |

Unit 1 is a state: 1 for yes, 0 for no. Joules of the fleet are in the worker's counters; joules of wattledger
itself are `wattledger_own_joules_total` and never among them ([own energy](own-energy.md)).

**Logs** go to stderr, one line per event; with `WATTLEDGER_LOG_FORMAT=json` (`log_format` in the TOML file) each is
an object with `time`, `level`, `logger`, `message` and, where there is one, `trace`. **Traces**, off by default:
`wattledger worker --traces` (extra `otel`) sends a span per flush, with its parts inside, to
`OTEL_EXPORTER_OTLP_ENDPOINT`. No event carries what users wrote, nor secrets.
"""

TITLES: Final = {
    Role.WORKER: "Worker",
    Role.AGENT: "Node agent",
    Role.API: "API",
    Role.POLLER: "Grid poller",
    Role.EVERY: "Every role",
}


def document() -> str:
    """docs/metrics.md."""
    return "\n".join([HEAD, *(_table(role) for role in TITLES), *_objectives()])


def alerts() -> str:
    """The alert rules, as Prometheus reads them."""
    groups = [
        {
            "name": f"wattledger-{objective.name.replace(' ', '-')}",
            "rules": [
                {
                    "alert": alert.name,
                    "expr": alert.expression,
                    "for": alert.lasts,
                    "labels": {"severity": alert.severity, "slo": objective.name.replace(" ", "-")},
                    "annotations": {
                        "summary": alert.summary,
                        "runbook": f"docs/operations/{alert.runbook}",
                    },
                }
                for alert in objective.alerts
            ],
        }
        for objective in OBJECTIVES
    ]
    head = "# Written by `make generate` from schemas/metrics/objectives.py.\n"
    return head + yaml.safe_dump({"groups": groups}, sort_keys=False, width=1000)


def _table(role: Role) -> str:
    lines = [f"## {TITLES[role]}\n", "| name | kind | unit | labels | meaning |", "|---|---|---|---|---|"]
    for metric in CATALOGUE.values():
        if metric.role is role:
            labels = ", ".join(f"`{label}`" for label in metric.labels)
            lines.append(f"| `{metric.name}` | {metric.kind} | {metric.unit} | {labels} | {metric.meaning} |")
    return "\n".join(lines) + "\n"


def _objectives() -> Iterator[str]:
    yield (
        "## Objectives and alerts\n\n"
        "The rules are `helm/wattledger/files/alerts.yaml`: the chart installs them, and a Prometheus without the "
        "operator reads the file as it is. `page` means that energy is lost, wrongly booked or not booked at all; "
        "`ticket` can wait for the morning. Expressions that hold during a backfill (batches of yesterday are not "
        "fresh) say so truly: silence the freshness alerts for its time.\n"
    )
    for objective in OBJECTIVES:
        yield f"### {objective.name.capitalize()}\n\n{objective.promise}\n\n`{objective.measure}`\n"
        yield _alert_table(objective)


def _alert_table(objective: Objective) -> str:
    lines = ["| alert | when | for | severity | means | runbook |", "|---|---|---|---|---|---|"]
    for alert in objective.alerts:
        link = f"[{alert.runbook.removesuffix('.md')}](operations/{alert.runbook})"
        lines.append(
            f"| {alert.name} | `{alert.expression}` | {alert.lasts} | {alert.severity} | {alert.summary} | {link} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write both files."""
    ALERTS.parent.mkdir(parents=True, exist_ok=True)
    DOCUMENT.write_text(document(), encoding="utf-8")
    ALERTS.write_text(alerts(), encoding="utf-8")


if __name__ == "__main__":
    main()
