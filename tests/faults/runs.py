"""One run of the matrix: publish, break, heal, repair, compare."""

import os
import pickle
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from schemas.topics import ENGINES, LOADS
from streams.ledger.client import connect
from streams.ledger.migrations import up
from streams.ledger.transfers import write_transfers
from streams.windows import WindowRules
from tests.faults.agent import Feed
from tests.faults.machines import Agent, Machines, Workers
from tests.faults.plan import Plan
from tests.faults.traffic import Destroyed, disturb
from tests.faults.verdict import Verdict, judge
from tests.rig.ledgers import sealed_until_ns
from tests.rig.streams import Record, Stream, demo_fleet, ends, place_group, records, send
from wattledger.local.broker import Broker, broker
from wattledger.local.clickhouse_front import Front, clickhouse_front
from wattledger.local.worker import worker
from wattledger.topics_admin import create_topics

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["Outcome", "Site", "marks", "run", "site"]

SPEED: Final = 3.0
"""Event seconds per second while a stream is published: time constants are the fleet's own."""
FLEET_S: Final = 60.0
PARTITIONS: Final = 4
SETTLED_S: Final = 300.0
"""After everything is healed a run must be booked within this, also on a machine that is busy."""
REPAIR_RUNS: Final = 4
REPAIR_PAUSE_S: Final = 5.0
LATE: Final = """
SELECT toString(topic), topic_partition, topic_offset FROM late_frames WHERE startsWith(group_id, {prefix:String})
"""
LOADED: Final = "SELECT uniqExact(load_id) FROM loads WHERE startsWith(group_id, {prefix:String})"
Position = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class Site:
    """Three brokers with topics, a database server, a directory: shared by all runs."""

    broker: Broker
    front: Front
    directory: Path


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run's faults and what they did."""

    plan: Plan
    verdict: Verdict
    seconds: float
    worker_starts: int


@contextmanager
def site(directory: Path) -> Iterator[Site]:
    """Start brokers and database for the duration of the block."""
    with broker(3, docker=False) as brokers, clickhouse_front(directory / "clickhouse") as front:
        create_topics(brokers.bootstrap, partitions=PARTITIONS)
        yield Site(brokers, front, directory)


def run(where: Site, plan: Plan) -> Outcome:
    """Let everything in the plan happen to one fleet's stream, and judge what its ledger says afterwards."""
    began = time.monotonic()
    name = f"f{plan.seed}-{uuid.uuid4().hex[:6]}"
    fleet = demo_fleet(name, duration_s=FLEET_S, seed=plan.seed % 7 + 1)
    begin_s = time.time() + 1.0
    lasts_s = fleet.end_us / 1e6
    origin_ns = round((begin_s - lasts_s * (1 - 1 / SPEED)) * 1e9) // 5_000_000_000 * 5_000_000_000
    clean = records(fleet, origin_ns)
    stream = Stream(fleet, origin_ns, ends(where.broker.bootstrap))
    disturbed = disturb(clean, plan.messages, plan.seed)
    loads = sum(one.topic == LOADS for one in clean)
    dsn, reference = (where.front.dsn(f"{kind}_{name.replace('-', '_')}") for kind in ("run", "ref"))
    for address in (dsn, reference):
        up(connect(address))
    feed = where.directory / f"{name}.feed"
    feed.write_bytes(pickle.dumps(Feed(disturbed.sendings, origin_ns, begin_s, SPEED)))
    place_group(where.broker.bootstrap, name, stream.begins)
    machines = Machines(
        where.broker,
        where.front,
        Workers(where.broker.bootstrap, dsn, name, where.directory),
        Agent(feed, where.broker.bootstrap, where.directory / f"{name}-agent.log"),
    )
    try:
        try:
            _happen(machines, plan, begin_s, lasts_s / SPEED)
            machines.heal()
            machines.workers.wanted = {"one"}
            _until_booked(machines.workers.keep, dsn, stream)
            sent = send(where.broker.bootstrap, marks(disturbed.untouched))
            _until_read(machines.workers.keep, dsn, name, loads, sent)
        finally:
            machines.heal()
            machines.workers.end()
            machines.agent.kill()
        _undisturbed(where, reference, stream, clean)
        _repair(where, dsn)
        verdict = _compared(reference, dsn, name, [*disturbed.destroyed, *machines.agent.lost()])
    except TimeoutError as error:
        verdict = Verdict(0, 0, 0, 0, (str(error),))
    return Outcome(plan, verdict, time.monotonic() - began, machines.workers.starts)


def _compared(reference: str, dsn: str, cluster: str, destroyed: Sequence[Destroyed]) -> Verdict:
    """What the two ledgers say; they are dropped where all is as it must be."""
    clients = [connect(address) for address in (reference, dsn)]
    try:
        for client in clients:
            write_transfers(client)
        verdict = judge(clients[0], clients[1], cluster, destroyed)
        if not verdict.broken:
            for client in clients:
                client.command(f"DROP DATABASE {client.database} SYNC")
    finally:
        for client in clients:
            client.close()
    return verdict


def _happen(machines: Machines, plan: Plan, begin_s: float, lasts_s: float) -> None:
    """Keep agent and workers alive while the plan's faults strike, each at its instant."""
    faults = list(plan.machines)
    while faults or not machines.agent.done:
        machines.agent.keep()
        machines.workers.keep()
        while faults and time.time() >= begin_s + faults[0].at * lasts_s:
            machines.strike(faults.pop(0))
        time.sleep(0.1)


def marks(untouched: Sequence[Record]) -> list[Record]:
    """One more message for each group and topic, whose reading can be seen: a frame of a sealed window, repeated.

    A worker records it by position, as it does every frame that comes late. A partition is read in order, so by
    then all that was sent before, the latest of the delayed frames included, has been dealt with.
    """
    first: dict[tuple[str, bytes], Record] = {}
    for record in untouched:
        first.setdefault((record.topic, record.key), record)
    return list(first.values())


def _until_booked(keep: Callable[[], None], dsn: str, stream: Stream) -> None:
    """Return once every group's last window is sealed, whatever it took."""
    until_ns, groups = stream.sealed_ns(WindowRules()), len(stream.fleet.groups)

    def missing(client: "Client") -> str:
        sealed = sealed_until_ns(client, stream.cluster)
        done = sum(end_ns >= until_ns for end_ns in sealed.values()) >= groups
        return "" if done else f"{stream.cluster}: sealed only {sealed}"

    _wait(keep, dsn, missing)


def _until_read(
    keep: Callable[[], None], dsn: str, cluster: str, loads: int, sent: Collection[Position] = ()
) -> None:
    """Return once everything up to these messages has been dealt with, and every load is there."""
    asked = {"prefix": f"{cluster}/"}

    def missing(client: "Client") -> str:
        found = {tuple(row) for row in client.query(LATE, asked).result_rows}
        ((ended,),) = client.query(LOADED, asked).result_rows
        unread = sorted(set(sent) - found)
        return f"{cluster}: {ended} of {loads} loads, unread {unread}" if unread or ended < loads else ""

    _wait(keep, dsn, missing)


def _wait(keep: Callable[[], None], dsn: str, missing: Callable[["Client"], str]) -> None:
    """Keep what must run alive until nothing is missing."""
    deadline = time.monotonic() + SETTLED_S
    client = connect(dsn)
    try:
        while True:
            keep()
            said = missing(client)
            if not said:
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"after {SETTLED_S:.0f} s {said}")
            time.sleep(0.3)
    finally:
        client.close()


def _undisturbed(where: Site, dsn: str, stream: Stream, clean: Sequence[Record]) -> None:
    """The same events once more, in order and in peace, through a worker of its own."""
    begins = ends(where.broker.bootstrap)
    send(where.broker.bootstrap, [one for one in clean if one.topic != ENGINES])
    group = f"{stream.cluster}-ref"
    place_group(where.broker.bootstrap, group, begins)
    log = where.directory / f"{group}.log"
    with worker(kafka=where.broker.bootstrap, clickhouse=dsn, log=log, options=["--group", group]):
        _until_booked(lambda: None, dsn, stream)
        _until_read(lambda: None, dsn, stream.cluster, sum(one.topic == LOADS for one in clean))


def _repair(where: Site, dsn: str) -> None:
    """What the worker's own job does every minute, now; as patient as it where a broker is slow to answer."""
    env = {**os.environ, "WATTLEDGER_KAFKA": where.broker.bootstrap, "WATTLEDGER_CLICKHOUSE": dsn}
    command = [sys.executable, "-m", "wattledger", "repair"]
    for _ in range(REPAIR_RUNS):
        done = subprocess.run(
            command, env=env, check=False, capture_output=True, text=True, timeout=SETTLED_S
        )
        if done.returncode == 0:
            return
        time.sleep(REPAIR_PAUSE_S)
    raise TimeoutError(f"wattledger repair exits {done.returncode} {REPAIR_RUNS} times: {done.stderr[-500:]}")
