"""A running worker books what no meter covers as an estimate, and replaces it when the meter's frames arrive."""

import json
import os
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from producers.simulation.fleet import FleetEvent, events, simulate_fleet
from producers.simulation.presets import demo_scenario
from producers.simulation.publish import encode_event
from schemas.energy import EnergyFrame
from schemas.iterations import IterationFrame
from schemas.side_inputs import EngineDescriptor
from streams.batch import Batch
from streams.booking import book
from streams.ledger.client import connect
from streams.ledger.migrations import up
from streams.ledger.query import rows_of
from streams.pipeline import Frontier, Message, Pipeline
from streams.side_inputs import SideInputs
from streams.split import SplitRules
from streams.windows import WindowRules
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

PATIENCE_S = 5
UNMETERED = "/coder"
"""End of the group whose agent is down."""

TIERS = """
SELECT tier, count(), sum(metered_uj), sum(unmetered_ns) > 0
FROM current_batches WHERE endsWith(group_id, {group:String}) GROUP BY tier
"""


def is_lost(event: FleetEvent) -> bool:
    return isinstance(event.value, EnergyFrame) and event.value.group_id.endswith(UNMETERED)


def record(event: FleetEvent) -> Record:
    return Record(*encode_event(event), at_ns=event.at_ns)


def books(dsn: str) -> dict[str, Any]:
    said = CliRunner().invoke(cli, ["books", "--json"], env={**os.environ, "WATTLEDGER_CLICKHOUSE": dsn})
    assert said.exit_code == 0, said.output
    found: dict[str, Any] = json.loads(said.output)
    return found


def tiers(client: "Client") -> list[tuple[Any, ...]]:
    return [tuple(row) for row in rows_of(client, TIERS, {"group": UNMETERED})]


def wait_until_metered(client: "Client", metered_uj: int) -> None:
    deadline = time.monotonic() + 90
    while [row[2] for row in tiers(client)] != [metered_uj]:
        assert time.monotonic() < deadline, tiers(client)
        time.sleep(0.3)


def metered_batches(everything: Sequence[FleetEvent]) -> list[Batch]:
    """The blind group's batches, had its meter never been away; in order of time."""
    side = SideInputs()
    for one in everything:
        if isinstance(one.value, EngineDescriptor):
            side.add_engine(one.value)
    pipeline = Pipeline(WindowRules(), side, Frontier())
    for offset, one in enumerate(everything):
        if isinstance(one.value, EnergyFrame | IterationFrame) and one.group_id.endswith(UNMETERED):
            topic, key, value = encode_event(one)
            pipeline.receive(Message(topic, 0, offset, one.at_ns, key, value))
    return [book(closed, side, SplitRules()) for closed in pipeline.take().windows]


def test_an_engine_without_a_meter_is_estimated_and_restated_when_its_frames_arrive(
    kafka: Broker, front: Front, tmp_path: Path
) -> None:
    name = uuid.uuid4().hex[:8]
    fleet = simulate_fleet(replace(demo_scenario(duration_s=60.0, seed=5), cluster=f"blind-{name}"))
    origin_ns = (time.time_ns() - fleet.end_us * 1000) // 5_000_000_000 * 5_000_000_000
    everything = list(events(fleet, origin_ns))
    expected = metered_batches(everything)
    metered_uj = sum(batch.metered_uj for batch in expected)
    assert {batch.tier for batch in expected} == {3}

    create_topics(kafka.bootstrap, partitions=4)
    dsn = front.dsn(f"blind_{name}")
    client = connect(dsn)
    up(client)
    place_group(kafka.bootstrap, f"blind-{name}", ends(kafka.bootstrap))
    returns_ns = origin_ns + fleet.end_us * 600  # its agent comes back after three fifths
    lost = [one for one in everything if is_lost(one) and one.at_ns < returns_ns]
    before = [one for one in everything if one.at_ns < returns_ns and not is_lost(one)]
    after = [one for one in everything if one.at_ns >= returns_ns]
    send(kafka.bootstrap, [record(one) for one in before])
    until_ns = returns_ns // 5_000_000_000 * 5_000_000_000 - 5_000_000_000
    options = ["--group", f"blind-{name}", "--repair-every", "1", "--silent-meter-after", str(PATIENCE_S)]
    with worker(kafka=kafka.bootstrap, clickhouse=dsn, log=tmp_path / "log", options=options):
        wait_until_booked(client, fleet.scenario.cluster, len(fleet.groups), until_ns - PATIENCE_S * 10**9)
        the_estimate_is_marked_and_its_books_close(client, dsn, expected)
        send(kafka.bootstrap, [record(one) for one in (*lost, *after)])
        wait_until_metered(client, metered_uj)
    assert books(dsn)["unmetered"] == []
    assert request_energies(client) == {
        (batch.batch_id, int(ordinal)): int(energy_uj)
        for batch in expected
        for lines in batch.requests
        for ordinal, energy_uj in zip(lines.window.requests.ordinal, lines.energy_uj, strict=True)
    }
    revisions = rows_of(
        client, "SELECT DISTINCT tier, revision > 0 FROM batches WHERE endsWith(group_id, {group:String})",
        {"group": UNMETERED},
    )  # fmt: skip
    assert {(2, 0), (3, 1)} <= set(revisions), "the estimate stays on record under what replaced it"
    client.close()


def the_estimate_is_marked_and_its_books_close(client: "Client", dsn: str, expected: Sequence[Batch]) -> None:
    ((tier, windows, estimated_uj, uncovered),) = tiers(client)
    assert (tier, uncovered) == (2, True)
    measured_uj = sum(batch.metered_uj for batch in expected[:windows])
    assert estimated_uj == pytest.approx(measured_uj, rel=0.5), "a prior's figure, before any fit"
    said = books(dsn)
    assert said["closes"], said["open_windows"]
    (unmetered,) = said["unmetered"]
    assert unmetered["group_id"].endswith(UNMETERED)
    assert (unmetered["estimated_windows"], unmetered["estimated_uj"]) == (windows, estimated_uj)
    assert unmetered["unmeasured_windows"] == 0
    assert said["coverage"]["ratio"] == 1.0, "of what counters rose by: an estimate is no counter"


def request_energies(client: "Client") -> dict[tuple[str, int], int]:
    found = rows_of(
        client,
        "SELECT toString(batch_id), ordinal, energy_uj FROM current_ledger "
        "WHERE account = 'request' AND endsWith(group_id, {group:String})",
        {"group": UNMETERED},
    )
    return {(batch_id, ordinal): energy_uj for batch_id, ordinal, energy_uj in found}
