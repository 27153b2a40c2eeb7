"""A worker may die at any instant: the ledger is the one that an undisturbed worker writes, row for row."""

import random
import time

import pytest

from streams.ledger.transfers import write_transfers
from tests.e2e.conftest import Bench, Booked
from tests.rig.ledgers import current_rows, differences, sealed_until_ns, wait_until_booked
from tests.rig.streams import Stream
from wattledger.local.faults import Fault

pytestmark = pytest.mark.kafka

SLOW_INSERTS = Fault("delay", statement="insert into", times=10_000, seconds=0.15)
"""So that a kill lands between two inserts of a flush and not after the last."""
KILLS = 4


@pytest.fixture
def slow_front(bench: Bench):
    bench.front.inject(SLOW_INSERTS)
    yield
    bench.front.inject()


def wait_until_working(client, stream: Stream, seconds: float) -> None:
    """Return `seconds` after a worker has been given something to write."""
    deadline = time.monotonic() + 60
    while not client.query("SELECT count() FROM ledger").result_rows[0][0]:
        assert time.monotonic() < deadline, "no row in a minute"
        time.sleep(0.02)
    time.sleep(seconds)


def test_workers_killed_at_random_instants_leave_the_ledger_of_an_undisturbed_one(
    bench: Bench, stream: Stream, reference: Booked, slow_front: None
):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    group = bench.group(stream)
    with bench.database() as (dsn, client):
        for number in range(KILLS):
            with bench.worker(dsn, group, "--instance-id", "one", "--session-timeout", "6") as victim:
                if number == 0:
                    wait_until_working(client, stream, rng.uniform(0, 0.5))
                else:
                    while victim.progress() is None:
                        time.sleep(0.05)
                    time.sleep(rng.uniform(0.5, 4.0))
                victim.kill()
        bench.front.inject()
        with bench.worker(dsn, group, "--instance-id", "one", "--session-timeout", "6"):
            wait_until_booked(client, stream.cluster, len(stream.fleet.groups), stream.sealed_ns())
        write_transfers(client)
        expected, found = (current_rows(one, stream.cluster) for one in (reference.client, client))
        assert not differences(expected, found), f"seed {seed}"


def test_of_two_workers_that_share_the_partitions_one_may_die(
    bench: Bench, stream: Stream, reference: Booked, slow_front: None
):
    group = bench.group(stream)
    with (
        bench.database() as (dsn, client),
        bench.worker(dsn, group, "--session-timeout", "6") as one,
        bench.worker(dsn, group, "--session-timeout", "6"),
    ):
        wait_until_working(client, stream, 0.4)
        one.kill()
        bench.front.inject()
        wait_until_booked(client, stream.cluster, len(stream.fleet.groups), stream.sealed_ns())
        write_transfers(client)
        expected, found = (current_rows(both, stream.cluster) for both in (reference.client, client))
        assert not differences(expected, found)


def test_a_worker_told_to_stop_in_the_middle_of_an_insert_leaves_nothing_to_repair(
    bench: Bench, stream: Stream, reference: Booked, slow_front: None
):
    group = bench.group(stream)
    with bench.database() as (dsn, client):
        with bench.worker(dsn, group) as told:
            wait_until_working(client, stream, 0.1)
            told.ask_to_stop()
            assert told.process.wait(30) == 0, told.log.read_text()
        bench.front.inject()
        assert sealed_until_ns(client, stream.cluster)
        with bench.worker(dsn, group):
            wait_until_booked(client, stream.cluster, len(stream.fleet.groups), stream.sealed_ns())
        write_transfers(client)
        expected, found = (current_rows(one, stream.cluster) for one in (reference.client, client))
        assert not differences(expected, found)
