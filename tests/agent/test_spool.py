"""The spool: durable, in order, bounded; what it gives up it counts, detail first and energy last."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from producers.agent.spool import Outgoing, Spool, Worth


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    subject = Spool(tmp_path / "spool.db", max_bytes=1 << 20)
    yield subject
    subject.close()


def message(number: int, worth: Worth = Worth.DETAIL, size: int = 1000) -> Outgoing:
    return Outgoing("t", f"k{number}", bytes(size), worth, f"stream-{worth.name}", number)


def test_messages_come_back_in_order_and_go_when_deleted(spool: Spool) -> None:
    spool.put([message(n) for n in range(10)])
    waiting = spool.after(0, 100)
    assert [m.key for m in waiting] == [f"k{n}" for n in range(10)]
    spool.delete([m.id for m in waiting[:4]])
    assert spool.messages == 6
    assert spool.oldest_ns() == 4
    assert [m.key for m in spool.after(waiting[6].id, 2)] == ["k7", "k8"]


def test_iteration_detail_goes_first_the_oldest_of_it_and_facts_never(spool: Spool) -> None:
    spool.put([message(0, Worth.FACT), *[message(n, Worth.ENERGY) for n in range(1, 200)]])
    spool.put([message(n) for n in range(200, 1400)])
    lost = spool.make_room()
    assert spool.bytes <= 1 << 20
    assert {entry.worth for entry in lost} == {Worth.DETAIL}
    kept = [int(m.key[1:]) for m in spool.after(0, 10_000)]
    gone = sum(entry.frames for entry in lost)
    assert kept == [*range(200), *range(200 + gone, 1400)]
    assert min(entry.from_ns for entry in lost) == 200
    assert max(entry.to_ns for entry in lost) == 199 + gone


def test_energy_is_thinned_only_when_no_detail_is_left(spool: Spool) -> None:
    spool.put([message(n, Worth.ENERGY) for n in range(1200)])
    lost = spool.make_room()
    assert {entry.worth for entry in lost} == {Worth.ENERGY}
    kept = [int(m.key[1:]) for m in spool.after(0, 10_000)]
    # Every second of the oldest: counters are cumulative, so neighbours close the gap.
    assert kept[:3] == [1, 3, 5]
    assert kept[-100:] == list(range(1100, 1200))


def test_room_is_made_only_when_there_is_none(spool: Spool) -> None:
    spool.put([message(n) for n in range(100)])
    assert spool.make_room() == []
    assert spool.messages == 100


def test_facts_and_messages_survive_and_are_counted_again(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    first = Spool(path, 1 << 20)
    first.put([message(1)], {"sequences": {"g": 7}})
    size = first.bytes
    first.close()
    second = Spool(path, 1 << 20)
    assert second.fact("sequences") == {"g": 7}
    assert second.fact("absent", 3) == 3
    assert (second.messages, second.bytes) == (1, size)
    second.close()


def test_a_kill_at_any_moment_keeps_every_flush_whole(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from producers.agent.spool import *\n"
        "s = Spool(Path(sys.argv[1]), 1 << 30)\n"
        "n = 0\n"
        "while True:\n"
        "    s.put([Outgoing('t', str(n), b'x', Worth.DETAIL, 's', n)] * 5, {'n': n})\n"
        "    print(n, flush=True); n += 1\n"
    )
    path = tmp_path / "spool.db"
    writer = subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert writer.stdout is not None
    with writer.stdout:
        told = [int(writer.stdout.readline()) for _ in range(50)][-1]
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    spool = Spool(path, 1 << 30)
    kept = [int(m.key) for m in spool.after(0, 10**6)]
    assert spool.fact("n") >= told
    assert kept == [n for n in range(spool.fact("n") + 1) for _ in range(5)]
    spool.close()
