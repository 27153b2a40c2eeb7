"""`wattledger rollup` adds up what has been stored long enough, once."""

import json
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from streams.ledger.sink import ClickHouseSink
from tests.answers.test_rollups import now, totals, windows
from tests.ledger_rows import write
from wattledger.commands import rollup

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


def run(dsn: str) -> dict[str, int]:
    done = CliRunner().invoke(rollup.command, ["--json"], env={"WATTLEDGER_CLICKHOUSE": dsn})
    assert done.exit_code == 0, done.output
    found: dict[str, int] = json.loads(done.output)
    return found


def test_hours_are_added_up_once_and_not_while_an_insert_may_be_on_its_way(
    database: "Client", dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(ClickHouseSink(database), *windows(0), *windows(1))
    assert run(dsn) == {"totals": 0, "reports": 0, "carbon": 0}
    monkeypatch.setattr(rollup, "SETTLED_AFTER", timedelta(0))
    now()
    assert run(dsn) == {"totals": 2, "reports": 2, "carbon": 2}
    rolled, base = totals(database)
    assert [row[1:] for row in rolled] == [row[1:] for row in base]
    assert run(dsn) == {"totals": 0, "reports": 0, "carbon": 0}
