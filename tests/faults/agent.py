"""The agents' side as a child process: `python -m tests.faults.agent FEED BOOTSTRAP` sends through a real spool.

The node agent's own spool and publisher, fed with a plan instead of engines and meters: what it has taken is a fact
in the same transaction as the messages. Killed at any instant and started again, perhaps with its spool as it was
a while ago, it goes on from there, and sends again what may not have arrived.
"""

import pickle
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from producers.agent.overflow import Overflow
from producers.agent.publisher import Publisher
from producers.agent.spool import Outgoing, Spool, Worth
from schemas.topics import ENERGY, ITERATIONS
from tests.faults.traffic import Sending
from tests.faults.witness import Witness

__all__ = ["OVERFLOW", "Feed", "lost_file", "spool_file"]

SPOOL_BYTES: Final = 60_000
"""Some seconds of the fleet's frames; held to only while the disk is said to be full."""
OVERFLOW: Final = ".overflow"
"""A file beside the feed with this ending holds for how many seconds nothing leaves the spool and it is full."""
PUMP_S: Final = 0.02
LINGER_S: Final = 5.0

DONE: Final = "done"
"""Fact: how many messages of the feed have been put."""


@dataclass(frozen=True, slots=True)
class Feed:
    """What is to be sent: `sendings` in order, each `speed` times as fast as its event time, from `begin_s` on."""

    sendings: tuple[Sending, ...]
    first_ns: int
    begin_s: float
    """Wall clock at which event time `first_ns` is sent."""
    speed: float


def spool_file(feed: Path) -> Path:
    """Where the spool of a feed lies."""
    return feed.with_suffix(".db")


def lost_file(feed: Path) -> Path:
    """One line of JSON per frame that a full spool has given up."""
    return feed.with_suffix(".lost")


def main(path: Path, bootstrap: str) -> None:
    """Send everything; returns when the brokers have it."""
    feed: Feed = pickle.loads(path.read_bytes())
    spool = Spool(spool_file(path), SPOOL_BYTES)
    publisher = Publisher(spool, bootstrap, {"linger.ms": "5"})
    full = Overflow(cast("Spool", Witness(spool, lost_file(path))))
    done: int = spool.fact(DONE, 0)
    while done < len(feed.sendings) or spool.messages:
        if overflow := _asked(path):
            until_s = time.monotonic() + overflow
            while time.monotonic() < until_s:
                done = _take(feed, spool, done)
                full.make_room()
                time.sleep(PUMP_S)
        done = _take(feed, spool, done)
        publisher.pump()
        time.sleep(PUMP_S)
    publisher.close(LINGER_S)
    spool.close()


def _take(feed: Feed, spool: Spool, done: int) -> int:
    """Put what is due into the spool."""
    now_ns = feed.first_ns + round((time.time() - feed.begin_s) * feed.speed * 1e9)
    due = done
    while due < len(feed.sendings) and feed.sendings[due].at_ns <= now_ns:
        due += 1
    if due > done:
        spool.put([_outgoing(one) for one in feed.sendings[done:due]], {DONE: due})
    return due


def _outgoing(sending: Sending) -> Outgoing:
    worth = {ITERATIONS: Worth.DETAIL, ENERGY: Worth.ENERGY}.get(sending.topic, Worth.FACT)
    group = sending.key.decode()
    return Outgoing(sending.topic, group, sending.value, worth, group, sending.at_ns)


def _asked(path: Path) -> float:
    """Seconds of an overflow that was asked for, once."""
    asked = path.with_suffix(OVERFLOW)
    if not asked.exists():
        return 0.0
    seconds = float(asked.read_text())
    asked.unlink()
    return seconds


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
