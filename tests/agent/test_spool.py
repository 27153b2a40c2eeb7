"""The spool: durable, in order; what may be on its way to Kafka is never rewritten."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from producers.agent.spool import ON_THEIR_WAY, Outgoing, Spool, Worth


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


def test_what_may_be_on_its_way_is_never_offered_for_rewriting(spool: Spool) -> None:
    spool.put([message(n) for n in range(ON_THEIR_WAY + 3)])
    assert [one.time_ns for one in spool.oldest(Worth.DETAIL, 100)] == [ON_THEIR_WAY + n for n in range(3)]
    spool.delete([m.id for m in spool.after(0, 2)])
    assert [one.time_ns for one in spool.oldest(Worth.DETAIL, 100)] == [ON_THEIR_WAY + 2]
    spool.delete([m.id for m in spool.after(0, 2)])
    assert spool.oldest(Worth.DETAIL, 100) == []


def test_a_rewritten_message_keeps_the_first_ones_place(spool: Spool) -> None:
    spool.put([message(n) for n in range(ON_THEIR_WAY + 4)])
    before = spool.size_bytes
    spool.rewrite(spool.oldest(Worth.DETAIL, 3), b"joined", Worth.JOINED)
    kept = spool.after(0, 1000)
    assert [m.key for m in kept[-3:]] == [f"k{ON_THEIR_WAY - 1}", f"k{ON_THEIR_WAY}", f"k{ON_THEIR_WAY + 3}"]
    assert kept[-2].value == b"joined"
    assert before - spool.size_bytes == 3 * 1000 - 6 + 2 * 160


def test_facts_and_messages_survive_and_are_counted_again(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    first = Spool(path, 1 << 20)
    first.put([message(1)], {"sequences": {"g": 7}})
    size = first.size_bytes
    first.close()
    second = Spool(path, 1 << 20)
    assert second.fact("sequences") == {"g": 7}
    assert second.fact("absent", 3) == 3
    assert (second.messages, second.size_bytes) == (1, size)
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


def test_what_kafka_has_goes_in_the_write_that_brings_what_is_new(spool: Spool) -> None:
    spool.put([message(n) for n in range(3)])
    before = spool.size_bytes
    spool.put([message(3, size=400)], {"sequences": {"g": 1}}, delivered=[m.id for m in spool.after(0, 2)])
    assert [m.key for m in spool.after(0, 10)] == ["k2", "k3"]
    assert (spool.messages, spool.size_bytes) == (2, before - 1600 - 160)


def test_a_write_that_fails_forgets_nothing(spool: Spool) -> None:
    spool.put([message(n) for n in range(3)])
    before = spool.size_bytes
    with pytest.raises(TypeError):
        spool.put([message(3)], {"unwritable": object()}, delivered=[m.id for m in spool.after(0, 2)])
    assert [m.key for m in spool.after(0, 10)] == ["k0", "k1", "k2"]
    assert (spool.messages, spool.size_bytes) == (3, before)
