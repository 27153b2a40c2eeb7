"""A live worker's hourly jobs: closed hours are reconciled, and their idle energy goes to whom the policy says."""

import time
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from schemas.side_input_codec import encode_policy
from schemas.side_inputs import Policy
from schemas.topics import POLICIES
from streams.ledger.books import read_books
from streams.ledger.query import rows_of
from tests.rig.ledgers import wait_until_booked
from tests.rig.streams import Record, demo_fleet, place_group, send, sent_stream
from wattledger.local.broker import Broker
from wattledger.local.worker import Worker, worker
from wattledger.topics_admin import create_topics

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

pytestmark = pytest.mark.kafka

HOUR_NS = 3600 * 1_000_000_000
SECOND_NS = 1_000_000_000


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "in vain"
        time.sleep(0.5)


def metric(running: Worker, name: str) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{running.port}/metrics", timeout=5) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    return next(sample.value for family in families for sample in family.samples if sample.name == name)


def test_a_closed_hour_is_reconciled_and_its_idle_energy_moved_where_the_policy_says_so(
    database: "Client", dsn: str, kafka: Broker, tmp_path: Path
) -> None:
    """Half a minute before the hour, and half after it; the policy holds for the first hour alone."""
    create_topics(kafka.bootstrap, partitions=4)
    closed_ns = (time.time_ns() // HOUR_NS - 10) * HOUR_NS
    policies = [
        Policy("idle", closed_ns - HOUR_NS, {"policy": "residency"}),
        Policy("idle", closed_ns, {"policy": "provider"}),
    ]
    send(kafka.bootstrap, [Record(POLICIES, b"idle", encode_policy(one), 0) for one in policies])
    name = f"hours-{uuid.uuid4().hex[:6]}"
    stream = sent_stream(kafka.bootstrap, demo_fleet(name), closed_ns - 30 * SECOND_NS)
    place_group(kafka.bootstrap, name, stream.begins)
    hours = "SELECT DISTINCT toUnixTimestamp(hour) FROM reconciliations"
    moved = "SELECT count() FROM current_transfers WHERE kind = 'residency_idle'"
    with worker(
        kafka=kafka.bootstrap, clickhouse=dsn, log=tmp_path / "log", options=["--group", name]
    ) as one:
        wait_until_booked(database, stream.cluster, len(stream.fleet.groups), stream.sealed_ns())
        until(lambda: rows_of(database, hours, {}) == [((closed_ns - HOUR_NS) // SECOND_NS,)])
        until(lambda: rows_of(database, moved, {}) != [(0,)])
        until(lambda: metric(one, "wattledger_coverage_ratio") == 1.0)
        assert metric(one, "wattledger_unbooked_joules") == metric(one, "wattledger_doubled_joules") == 0.0
    gpus = rows_of(
        database, "SELECT sum(counter_uj) > 0, sum(counter_uj) = sum(booked_uj) FROM reconciliations", {}
    )
    assert gpus == [(1, 1)]
    books = read_books(database)
    assert (books.closes, books.open_transfers) == (True, 0)
