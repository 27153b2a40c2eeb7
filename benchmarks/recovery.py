"""`make bench-recovery`: how long the books stand still after kill -9, beside Faust's default settings.

The demo's fleet runs in real time; the worker is killed and a supervisor starts it again. Measured from the
kill: until the first new window is stored, and until everything due is stored again. Then a rolling restart of
two workers: which partitions the group's coordinator gives to whom, before and after.
"""

import argparse
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from producers.simulation.fleet import simulate_fleet
from producers.simulation.presets import demo_scenario
from producers.simulation.publish import publish
from streams.ledger import migrations
from streams.ledger.client import connect
from wattledger.demo import begin_at_the_end
from wattledger.local.broker import broker
from wattledger.local.clickhouse_front import clickhouse_front
from wattledger.local.worker import Worker, worker
from wattledger.topics_admin import create_topics

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

PARTITIONS = 6
GROUP = "recovery"
WINDOW_S, WAIT_S, FRAME_S, SLACK_S = 5.0, 0.5, 0.5, 2.0
"""A window is due once its frames and the wait have passed; stored within SLACK_S of that in normal running."""
LONGEST_S = 150.0
ANSWER_S = 20.0
OURS = ("--session-timeout", "12", "--instance-id", "one")
FAUST = ("--session-timeout", "60")
"""Faust's defaults: a session of a minute, and no name by which a restarted member is known."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """One kill."""

    settings: str
    first_window_s: float
    caught_up_s: float


@dataclass(frozen=True, slots=True)
class Site:
    """Broker, database and the fleet's events, in real time."""

    kafka: str
    dsn: str
    client: "Client"
    directory: Path
    groups: int

    @contextmanager
    def worker(self, name: str, *options: str) -> Iterator[Worker]:
        """A member of the one consumer group: what one did not book, the next goes on with."""
        with worker(
            kafka=self.kafka,
            clickhouse=self.dsn,
            log=self.directory / f"{name}.log",
            options=["--group", GROUP, *options],
        ) as running:
            yield running

    def newest(self) -> tuple[float, float, int]:
        """(last time a window was stored, the end up to which every group is sealed, sealed groups), Unix s."""
        row = self.client.query(
            "SELECT max(stored), min(sealed), count() FROM (SELECT group_id, "
            "max(toUnixTimestamp64Milli(stored_at)) / 1000 AS stored, max(end_ns) / 1e9 AS sealed "
            "FROM batches GROUP BY group_id)"
        ).result_rows[0]
        return float(row[0]), float(row[1]), int(row[2])

    def is_current(self) -> bool:
        """Whether every group has every window that is due."""
        _, sealed_s, groups = self.newest()
        due_s = (time.time() - WAIT_S - FRAME_S - SLACK_S) // WINDOW_S * WINDOW_S
        return groups >= self.groups and sealed_s >= due_s


def wait_for(condition: Callable[[], bool]) -> None:
    """Return when `condition()` holds; TimeoutError after LONGEST_S."""
    deadline = time.monotonic() + LONGEST_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {LONGEST_S:.0f} s")
        time.sleep(0.1)


def has_booked(one: Worker) -> bool:
    """Whether this very worker has its partitions and books: the ledger may be current by its predecessor."""
    progress = one.progress()
    return progress is not None and progress.batches > 0


def kill_and_recover(site: Site, settings: str, options: tuple[str, ...], number: int) -> Recovery:
    """Kill a worker that is current, start it again at once, and watch the ledger."""
    with site.worker(settings, *options) as victim:
        wait_for(lambda: has_booked(victim) and site.is_current())
        time.sleep(number * 1.7 % WINDOW_S)  # at another point of the window each time
        victim.kill()
        killed_s = time.time()
    with site.worker(settings, *options):
        wait_for(lambda: site.newest()[0] > killed_s)
        first_s = site.newest()[0] - killed_s
        wait_for(site.is_current)
        return Recovery(settings, first_s, time.time() - killed_s)


def assignment(kafka: str) -> dict[str, list[int]]:
    """By static name of the member: its partitions of the iterations; asked again while the coordinator is busy."""
    deadline = time.monotonic() + LONGEST_S
    while True:
        admin = AdminClient(
            {"bootstrap.servers": kafka, "log_level": 0}
        )  # must live until the answer is there
        try:
            described = admin.describe_consumer_groups([GROUP])[GROUP].result(ANSWER_S)
            break
        except (KafkaException, TimeoutError):
            if time.monotonic() > deadline:
                raise
    return {
        str(member.group_instance_id): sorted(
            at.partition for at in member.assignment.topic_partitions if "iterations" in at.topic
        )
        for member in described.members
    }


def rolling_restart(site: Site) -> list[dict[str, list[int]]]:
    """The group's assignment before, between and after two workers are restarted one after the other."""
    seen: list[dict[str, list[int]]] = []

    def both() -> bool:
        held = assignment(site.kafka)
        return len(held) == 2 and all(held.values())

    with ExitStack() as stack:
        running = {}
        for name in ("a", "b"):
            running[name] = stack.enter_context(site.worker(name, "--instance-id", name))
        wait_for(both)
        wait_for(site.is_current)
        seen.append(assignment(site.kafka))
        for name in ("a", "b"):
            running[name].ask_to_stop()
            running[name].process.wait(60)
            running[name] = stack.enter_context(site.worker(name, "--instance-id", name))
            wait_for(partial(has_booked, running[name]))
            seen.append(assignment(site.kafka))
    return seen


def main() -> None:
    """Run, print a table, and write the figures as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=3, help="per setting; 0 for the rolling restart alone")
    parser.add_argument(
        "--faust-kills",
        type=int,
        help="of Faust's defaults, two minutes each; as many as --kills if not given",
    )
    parser.add_argument("--out", type=Path, help="write the figures here as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="wattledger-recovery-") as scratch, ExitStack() as stack:
        directory = Path(scratch)
        kafka = stack.enter_context(broker(docker=False)).bootstrap
        front = stack.enter_context(clickhouse_front(directory / "clickhouse"))
        create_topics(kafka, partitions=PARTITIONS)
        begin_at_the_end(kafka, GROUP)
        client = connect(front.dsn())
        migrations.up(client)
        fleet = simulate_fleet(replace(demo_scenario(duration_s=1500.0), cluster="recovery"))
        # A daemon: the fleet would run for 25 minutes, the measurement decides when it has seen enough.
        threading.Thread(target=publish, args=(fleet, kafka), kwargs={"speed": 1.0}, daemon=True).start()
        site = Site(kafka, front.dsn(), client, directory, len(fleet.groups))
        found = [
            kill_and_recover(site, settings, chosen, number)
            for number in range(options.kills)
            for settings, chosen, kills in (
                ("wattledger", OURS, options.kills),
                (
                    "faust-defaults",
                    FAUST,
                    options.kills if options.faust_kills is None else options.faust_kills,
                ),
            )
            if number < kills
        ]
        _print_kills(found)
        moves = rolling_restart(site)
    still = all(one == moves[0] for one in moves)
    print(f"rolling restart of two static members: {'no partition moved' if still else f'moved: {moves}'}")
    if options.out is not None:
        options.out.write_text(
            json.dumps({"kills": [asdict(one) for one in found], "rolling": moves}, indent=2)
        )


def _print_kills(found: list[Recovery]) -> None:
    print(f"{'settings':<16}{'first window, s':>24}{'caught up, s':>24}")
    for settings in dict.fromkeys(one.settings for one in found):
        these = [one for one in found if one.settings == settings]
        columns = ([one.first_window_s for one in these], [one.caught_up_s for one in these])
        cells = "".join(
            f"{f'{statistics.median(values):.1f} ({min(values):.1f}-{max(values):.1f})':>24}"
            for values in columns
        )
        print(f"{settings:<16}{cells}")


if __name__ == "__main__":
    main()
