"""Every column that docs/carbon.md promises a standard is there, in the view that it names."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

DOCUMENT = Path(__file__).parents[2] / "docs" / "carbon.md"
PERIOD = "start = '2026-01-01', end = '2026-01-02', as_of = '2299-12-31 23:59:59.999'"
ASKED = ("SCI, ISO/IEC 21031", "SCI for AI, per token", "SCI for AI, per workflow", "scope 2, location-based",
         "scope 2, market-based", "hourly matching", "ESRS E1-5", "ESRS E1-6")  # fmt: skip


def table() -> list[list[str]]:
    """Rows of (standard, asks, views, columns)."""
    section = DOCUMENT.read_text(encoding="utf-8").split("## What standards ask")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in rows[1:]]


def columns(client: "Client", view: str) -> set[str]:
    source = f"{view}({PERIOD})" if view.endswith("_between") else view
    return {row[0] for row in client.query(f"DESCRIBE TABLE (SELECT * FROM {source})").result_rows}


def test_every_standard_is_answered_by_columns_that_exist(database: "Client") -> None:
    rows = table()
    for wanted in ASKED:
        assert any(wanted in standard for standard, *_ in rows), wanted
    known: dict[str, set[str]] = {}
    for standard, _, views, answers in rows:
        named = re.findall(r"`(\w+)`", views)
        for view in named:
            if view not in known:
                known[view] = columns(database, view)
        groups = answers.split(";")
        assert len(groups) in (1, len(named)), standard
        for number, group in enumerate(groups):
            own = named if len(groups) == 1 else [named[number]]
            for column in re.findall(r"`(\w+)`", group):
                assert any(column in known[view] for view in own), f"{standard}: {column} of {own}"
