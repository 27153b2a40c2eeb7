"""Writes the Grafana dashboards under helm/wattledger/dashboards: `python -m tools.dashboards`.

Panels are declared here, one line of meaning and one query each, on the ClickHouse data source; a test runs every
query and checks that the files are what this program writes.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

__all__ = ["DASHBOARDS", "Dashboard", "Panel", "document", "main"]

FOLDER: Final = Path(__file__).parents[1] / "helm" / "wattledger" / "dashboards"
DATASOURCE: Final = {"type": "grafana-clickhouse-datasource", "uid": "${datasource}"}
IN_RANGE: Final = "event_time >= $__fromTime AND event_time <= $__toTime"


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel: what it shows, in which unit (Grafana's name), and its query."""

    title: str
    says: str
    kind: str
    """timeseries, table or stat."""
    unit: str
    sql: str
    width: int = 12


@dataclass(frozen=True, slots=True)
class Dashboard:
    """A dashboard's panels, from left to right and from top to bottom."""

    uid: str
    title: str
    panels: tuple[Panel, ...]
    by_tenant: bool = False


POWER: Final = f"""
SELECT toStartOfInterval(event_time, INTERVAL 1 minute) AS time, group_id,
    sum(metered_uj) / 1e6 / (sum(end_ns - start_ns) / 1e9) AS watts
FROM current_batches WHERE {IN_RANGE} GROUP BY time, group_id ORDER BY time
"""
ACCOUNTS: Final = f"""
SELECT toStartOfInterval(event_time, INTERVAL 1 minute) AS time,
    sum(request_uj) / 6e7 AS request, sum(idle_uj) / 6e7 AS idle, sum(cold_start_uj) / 6e7 AS cold_start,
    sum(overhead_uj) / 6e7 AS overhead, sum(unobserved_uj) / 6e7 AS unobserved
FROM current_batches WHERE {IN_RANGE} GROUP BY time ORDER BY time
"""
PER_TOKEN: Final = f"""
SELECT toStartOfInterval(event_time, INTERVAL 5 minute) AS time, model,
    sum(energy_uj) / 1e6 / sum(emitted_tokens) AS joules
FROM current_ledger WHERE account = 'request' AND {IN_RANGE}
GROUP BY time, model HAVING sum(emitted_tokens) > 0 ORDER BY time
"""
TOP_TENANTS: Final = f"""
SELECT tenant, sum(energy_uj) / 1e6 AS joules, sum(emitted_tokens) AS tokens
FROM current_ledger WHERE account = 'request' AND {IN_RANGE}
GROUP BY tenant ORDER BY joules DESC LIMIT 20
"""
TENANT_POWER: Final = f"""
SELECT toStartOfInterval(event_time, INTERVAL 1 minute) AS time, model, sum(energy_uj) / 6e7 AS watts
FROM current_ledger WHERE tenant = '${{tenant}}' AND account = 'request' AND {IN_RANGE}
GROUP BY time, model ORDER BY time
"""
TENANT_MODELS: Final = f"""
SELECT model, uniqExact(engine_id, incarnation, ordinal) AS requests, sum(emitted_tokens) AS tokens,
    sum(energy_uj) / 1e6 AS joules, sum(half_width_uj) / 1e6 AS plus_minus
FROM current_ledger WHERE tenant = '${{tenant}}' AND account = 'request' AND {IN_RANGE}
GROUP BY model ORDER BY joules DESC
"""
TENANT_COLD: Final = f"""
SELECT sum(energy_uj) / 1e6 AS joules
FROM current_transfers WHERE tenant = '${{tenant}}' AND side = 'to' AND {IN_RANGE}
"""
TENANT_LARGEST: Final = f"""
SELECT any(client_request_id) AS request, any(model) AS model, sum(energy_uj) / 1e6 AS joules,
    max(prompt_tokens) AS prompt, sum(emitted_tokens) AS emitted
FROM current_ledger WHERE tenant = '${{tenant}}' AND account = 'request' AND {IN_RANGE}
GROUP BY engine_id, incarnation, ordinal ORDER BY joules DESC LIMIT 20
"""
OPEN: Final = f"""
SELECT count() AS batches, countIf(NOT closes) AS open FROM books WHERE {IN_RANGE}
"""
COVERAGE: Final = f"""
SELECT 100 * (1 - sum(unobserved_uj) / sum(metered_uj)) AS percent FROM current_batches WHERE {IN_RANGE}
"""
RESIDUAL: Final = f"""
SELECT toStartOfInterval(event_time, INTERVAL 5 minute) AS time, engine_class,
    100 * (sum(modelled_uj) / sum(request_uj + overhead_uj) - 1) AS percent
FROM current_batches WHERE batch_size > 0 AND {IN_RANGE} GROUP BY time, engine_class ORDER BY time
"""
DELAY: Final = f"""
SELECT toStartOfInterval(event_time, INTERVAL 1 minute) AS time,
    quantile(0.5)(toUnixTimestamp64Milli(stored_at) - end_ns / 1e6) AS median,
    quantile(0.99)(toUnixTimestamp64Milli(stored_at) - end_ns / 1e6) AS p99
FROM current_batches WHERE {IN_RANGE} GROUP BY time ORDER BY time
"""
REFUSED: Final = """
SELECT topic, reason, count() AS messages FROM dead_letters
WHERE arrived_at >= $__fromTime AND arrived_at <= $__toTime GROUP BY topic, reason ORDER BY messages DESC
"""
LATE: Final = f"""
SELECT toStartOfInterval(event_time, INTERVAL 5 minute) AS time, topic, count() AS frames
FROM late_frames WHERE {IN_RANGE} GROUP BY time, topic ORDER BY time
"""
REVISED: Final = f"""
SELECT group_id, event_time, revision, reason FROM current_batches
WHERE revision > 0 AND {IN_RANGE} ORDER BY event_time DESC LIMIT 50
"""

DASHBOARDS: Final = (
    Dashboard(
        "wattledger-fleet",
        "wattledger: fleet",
        (
            Panel("Power by group", "Accelerators, by their meters", "timeseries", "watt", POWER),
            Panel("Power by account", "Where the fleet's energy is booked", "timeseries", "watt", ACCOUNTS),
            Panel("Energy per token", "Request energy per token delivered", "timeseries", "joule", PER_TOKEN),
            Panel("Tenants", "Energy booked to requests", "table", "joule", TOP_TENANTS),
        ),
    ),
    Dashboard(
        "wattledger-tenant",
        "wattledger: one tenant",
        (
            Panel("Power by model", "What its requests drew", "timeseries", "watt", TENANT_POWER),
            Panel(
                "Models", "Energy with the half width of its 90 % interval", "table", "joule", TENANT_MODELS
            ),
            Panel("Cold start", "Its requests' part of model loads", "stat", "joule", TENANT_COLD, 6),
            Panel("Largest requests", "By energy booked", "table", "joule", TENANT_LARGEST, 18),
        ),
        by_tenant=True,
    ),
    Dashboard(
        "wattledger-accounting",
        "wattledger: accounting health",
        (
            Panel("Books", "Batches, and those that do not close", "stat", "short", OPEN, 6),
            Panel("Observed", "Energy drawn while iteration data were there", "stat", "percent", COVERAGE, 6),
            Panel("Model residual", "Modelled against metered", "timeseries", "percent", RESIDUAL),
            Panel("Delay", "From a window's end to the ledger", "timeseries", "ms", DELAY),
            Panel("Late frames", "After their window was sealed", "timeseries", "short", LATE),
            Panel("Refused", "Dead letters by reason", "table", "short", REFUSED),
            Panel("Revised batches", "What repair wrote anew", "table", "short", REVISED),
        ),
    ),
)


def document(dashboard: Dashboard) -> dict[str, Any]:
    """The dashboard as Grafana imports it."""
    variables: list[dict[str, Any]] = [
        {
            "name": "datasource",
            "type": "datasource",
            "query": "grafana-clickhouse-datasource",
            "label": "Ledger",
        }
    ]
    if dashboard.by_tenant:
        query = "SELECT DISTINCT tenant FROM ledger WHERE account = 'request' ORDER BY tenant"
        variables.append(
            {"name": "tenant", "type": "query", "datasource": DATASOURCE, "query": query, "label": "Tenant"}
        )
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "tags": ["wattledger"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "utc",
        "templating": {"list": variables},
        "panels": _panels(dashboard),
    }


def _panels(dashboard: Dashboard) -> list[dict[str, Any]]:
    placed, x, y = [], 0, 0
    for number, panel in enumerate(dashboard.panels, 1):
        if x + panel.width > 24:
            x, y = 0, y + 8
        target_kind = "timeseries" if panel.kind == "timeseries" else "table"
        placed.append(
            {
                "id": number,
                "title": panel.title,
                "description": panel.says,
                "type": panel.kind,
                "datasource": DATASOURCE,
                "gridPos": {"h": 8, "w": panel.width, "x": x, "y": y},
                "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
                "targets": [
                    {
                        "refId": "A",
                        "datasource": DATASOURCE,
                        "editorType": "sql",
                        "queryType": target_kind,
                        "format": 0 if target_kind == "timeseries" else 1,
                        "rawSql": " ".join(panel.sql.split()),
                    }
                ],
            }
        )
        x += panel.width
    return placed


def main() -> None:
    """Write every dashboard's file."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for dashboard in DASHBOARDS:
        text = json.dumps(document(dashboard), indent=2) + "\n"
        (FOLDER / f"{dashboard.uid}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
