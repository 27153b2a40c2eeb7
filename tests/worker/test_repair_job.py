"""A running worker repairs what came late, from the broker, to the ledger of an undisturbed one."""

import os
import time
import uuid
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from producers.simulation.fleet import FleetEvent, events, simulate_fleet
from producers.simulation.presets import demo_scenario
from producers.simulation.publish import encode_event
from schemas.energy import EnergyFrame
from schemas.iterations import IterationFrame
from schemas.side_inputs import EngineDescriptor
from streams.ledger.books import read_books
from streams.ledger.client import connect
from streams.ledger.migrations import up
from streams.ledger.query import rows_of
from tests.rig.booked import Booked, state
from tests.rig.ledgers import wait_until_booked
from tests.rig.streams import Record, ends, place_group, send
from wattledger.__main__ import cli
from wattledger.local.broker import Broker
from wattledger.local.clickhouse_front import Front
from wattledger.local.worker import worker
from wattledger.topics_admin import create_topics

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

pytestmark = pytest.mark.kafka


def is_late(event: FleetEvent) -> bool:
    """Frames of both streams of one engine, and of one meter elsewhere, around edges of windows."""
    frame = event.value
    if isinstance(frame, IterationFrame):
        return frame.group_id.endswith("/coder") and frame.sequence in (8, 9, 10, 41)
    if isinstance(frame, EnergyFrame):
        return frame.group_id.endswith(("/coder", "/spare")) and frame.sequence in (9, 10, 30)
    return False


def record(event: FleetEvent) -> Record:
    return Record(*encode_event(event), at_ns=event.at_ns)


def wait_until_repaired(client: "Client", late: int) -> None:
    deadline = time.monotonic() + 60
    while rows_of(client, "SELECT count() FROM repairs FINAL WHERE cause = 'late_frame'", {}) != [(late,)]:
        assert time.monotonic() < deadline, rows_of(client, "SELECT * FROM repairs", {})
        time.sleep(0.3)


def test_a_worker_restates_late_frames_by_itself_and_the_command_finds_nothing_left(
    kafka: Broker, front: Front, tmp_path: Path, database: "Client"
) -> None:
    name = uuid.uuid4().hex[:8]
    fleet = simulate_fleet(replace(demo_scenario(duration_s=60.0, seed=3), cluster=f"late-{name}"))
    origin_ns = (time.time_ns() - fleet.end_us * 1000) // 5_000_000_000 * 5_000_000_000
    everything = list(events(fleet, origin_ns))
    undisturbed = Booked(
        database, [one.value for one in everything if isinstance(one.value, EngineDescriptor)]
    )
    undisturbed.send([one.value for one in everything if not isinstance(one.value, EngineDescriptor)])
    expected = state(database)

    create_topics(kafka.bootstrap, partitions=4)
    begins = ends(kafka.bootstrap)
    in_time = [record(one) for one in everything if not is_late(one)]
    late = [record(one) for one in everything if is_late(one)]
    dsn = front.dsn(f"late_{name}")
    client = connect(dsn)
    up(client)
    place_group(kafka.bootstrap, f"late-{name}", begins)
    send(kafka.bootstrap, in_time)
    until_ns = (origin_ns + fleet.end_us * 1000 - 500_000_000) // 5_000_000_000 * 5_000_000_000
    options = ["--group", f"late-{name}", "--repair-every", "1"]
    with worker(kafka=kafka.bootstrap, clickhouse=dsn, log=tmp_path / "log", options=options):
        wait_until_booked(client, fleet.scenario.cluster, len(fleet.groups), until_ns)
        send(kafka.bootstrap, late)
        wait_until_repaired(client, len(late))
    said = CliRunner().invoke(
        cli, ["repair"], env={**os.environ, "WATTLEDGER_CLICKHOUSE": dsn, "WATTLEDGER_KAFKA": kafka.bootstrap}
    )
    assert (said.exit_code, said.output) == (0, "nothing came late\n")
    assert state(client) == expected
    assert read_books(client).closes
    assert read_books(client).total.unobserved_uj == 0
    client.close()
