"""One run of the matrix: publish, break, heal, repair, compare."""

import os
import pickle
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from schemas.topics import ENGINES
from streams.ledger.client import connect
from streams.ledger.migrations import up
from streams.ledger.transfers import write_transfers
from streams.windows import WindowRules
from tests.faults.agent import Spool
from tests.faults.machines import Agent, Machines, Workers
from tests.faults.plan import Plan
from tests.faults.traffic import disturb
from tests.faults.verdict import Verdict, judge
from tests.rig.ledgers import sealed_until_ns, wait_until_booked
from tests.rig.streams import Record, Stream, demo_fleet, ends, place_group, records, send
from wattledger.local.broker import Broker, broker
from wattledger.local.clickhouse_front import Front, clickhouse_front
from wattledger.local.worker import worker
from wattledger.topics_admin import create_topics

__all__ = ["Outcome", "Site", "run", "site"]

SPEED: Final = 3.0
"""Event seconds per second while a stream is published: time constants are the fleet's own."""
FLEET_S: Final = 60.0
PARTITIONS: Final = 4
SETTLED_S: Final = 150.0
"""After everything is healed a run must be booked within this."""


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
    sendings, destroyed = disturb(clean, plan.messages, plan.seed)
    dsn, reference = (where.front.dsn(f"{kind}_{name.replace('-', '_')}") for kind in ("run", "ref"))
    for address in (dsn, reference):
        up(connect(address))
    spool = where.directory / f"{name}.spool"
    spool.write_bytes(pickle.dumps(Spool(tuple(sendings), origin_ns, begin_s, SPEED)))
    place_group(where.broker.bootstrap, name, stream.begins)
    machines = Machines(
        where.broker,
        where.front,
        Workers(where.broker.bootstrap, dsn, name, where.directory),
        Agent(spool, where.broker.bootstrap, where.directory / f"{name}-agent.log"),
    )
    try:
        _happen(machines, plan, begin_s, lasts_s / SPEED)
        machines.heal()
        _until_booked(machines, dsn, stream)
    except TimeoutError as error:
        stuck = Verdict(0, 0, 0, 0, (str(error),))
        return Outcome(plan, stuck, time.monotonic() - began, machines.workers.starts)
    finally:
        machines.heal()
        machines.workers.end()
        machines.agent.kill()
    _undisturbed(where, reference, stream, clean)
    clients = [connect(address) for address in (reference, dsn)]
    try:
        _repair(where, dsn)
        for client in clients:
            write_transfers(client)
        verdict = judge(clients[0], clients[1], stream.cluster, destroyed)
        if not verdict.broken:
            for client in clients:
                client.command(f"DROP DATABASE {client.database} SYNC")
    finally:
        for client in clients:
            client.close()
    return Outcome(plan, verdict, time.monotonic() - began, machines.workers.starts)


def _happen(machines: Machines, plan: Plan, begin_s: float, lasts_s: float) -> None:
    """Keep agent and workers alive while the plan's faults strike, each at its instant."""
    faults = list(plan.machines)
    while faults or not machines.agent.done:
        machines.agent.keep()
        machines.workers.keep()
        while faults and time.time() >= begin_s + faults[0].at * lasts_s:
            machines.strike(faults.pop(0))
        time.sleep(0.1)


def _until_booked(machines: Machines, dsn: str, stream: Stream) -> None:
    deadline = time.monotonic() + SETTLED_S
    machines.workers.wanted = {"one"}
    client = connect(dsn)
    until_ns, groups = stream.sealed_ns(WindowRules()), len(stream.fleet.groups)
    try:
        while True:
            machines.workers.keep()
            sealed = sealed_until_ns(client, stream.cluster)
            if sum(end_ns >= until_ns for end_ns in sealed.values()) >= groups:
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"{stream.cluster}: after {SETTLED_S:.0f} s sealed only {sealed}")
            time.sleep(0.3)
    finally:
        client.close()


def _undisturbed(where: Site, dsn: str, stream: Stream, clean: Sequence[Record]) -> None:
    """The same events once more, in order and in peace, through a worker of its own."""
    begins = ends(where.broker.bootstrap)
    send(where.broker.bootstrap, [one for one in clean if one.topic != ENGINES])
    group = f"{stream.cluster}-ref"
    place_group(where.broker.bootstrap, group, begins)
    client = connect(dsn)
    log = where.directory / f"{group}.log"
    with worker(kafka=where.broker.bootstrap, clickhouse=dsn, log=log, options=["--group", group]):
        wait_until_booked(
            client, stream.cluster, len(stream.fleet.groups), stream.sealed_ns(), timeout_s=SETTLED_S
        )
    client.close()


def _repair(where: Site, dsn: str) -> None:
    """What the worker's own job does every minute, now."""
    env = {**os.environ, "WATTLEDGER_KAFKA": where.broker.bootstrap, "WATTLEDGER_CLICKHOUSE": dsn}
    subprocess.run(
        [sys.executable, "-m", "wattledger", "repair"], env=env, check=True, capture_output=True, timeout=120
    )
