"""Bad messages go to the dead letters with their reason, and the rest is booked as if they were not there."""

import random
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from confluent_kafka import Consumer, TopicPartition

from schemas import envelope
from schemas.frames import decode_iterations, encode_iterations
from schemas.proto import frames_v1_pb2
from schemas.topics import DEAD_LETTERS, ENERGY, ITERATIONS
from tests.e2e.conftest import Bench
from tests.rig.ledgers import books_of, wait_until_booked
from tests.rig.streams import Record, Stream, demo_fleet, ends, place_group, records, send, sent_stream

pytestmark = pytest.mark.kafka

FUTURE_NS = 60_000_000_000


def in_iterations(value: bytes, change: Callable[[frames_v1_pb2.IterationFrame], None]) -> bytes:
    message = frames_v1_pb2.IterationFrame.FromString(envelope.unpack(envelope.ITERATIONS, value))
    change(message)
    return envelope.pack(envelope.ITERATIONS, message.SerializeToString())


def in_energy(value: bytes, change: Callable[[frames_v1_pb2.EnergyFrame], None]) -> bytes:
    message = frames_v1_pb2.EnergyFrame.FromString(envelope.unpack(envelope.ENERGY, value))
    change(message)
    return envelope.pack(envelope.ENERGY, message.SerializeToString())


def more_rows(message: frames_v1_pb2.IterationFrame) -> None:
    message.rows += 1


def backwards(message: frames_v1_pb2.EnergyFrame) -> None:
    message.reading_offset_ns[-1] = message.reading_offset_ns[-2] - 1_000_000


def bad_messages(stream_records: list[Record], now_ns: int) -> dict[str, Record]:
    """One message of each kind of badness, by what its dead letter must say."""
    rng = random.Random(1)
    iterations = next(one for one in stream_records if one.topic == ITERATIONS and len(one.value) > 600)
    energy = next(one for one in stream_records if one.topic == ENERGY)
    frame = decode_iterations(iterations.value)
    moved_ns = (now_ns + FUTURE_NS - frame.end_ns) // 1000 * 1000
    times = ("start_ns", "end_ns", "watermark_ns", "iteration_start_ns", "iteration_end_ns")
    future = replace(frame, **{name: getattr(frame, name) + moved_ns for name in times})

    def like(one: Record, value: bytes) -> Record:
        return replace(one, value=value)

    return {
        "schema_version: this frame has 0": like(
            iterations, iterations.value[:2] + b"\x00" + iterations.value[3:]
        ),
        "schema_version: this frame has 2": like(energy, energy.value[:2] + b"\x02" + energy.value[3:]),
        "not one whole zstd frame": like(iterations, iterations.value[: len(iterations.value) // 2]),
        "is not the beginning of a frame": like(energy, rng.randbytes(200)),
        "an energy frame where an iteration frame belongs": like(iterations, energy.value),
        "rows": like(iterations, in_iterations(iterations.value, more_rows)),
        "reading": like(energy, in_energy(energy.value, backwards)),
        "has no descriptor": like(
            iterations, encode_iterations(replace(frame, engine_id=f"{frame.engine_id}-nobody"))
        ),
        "is not the frame's group_id": replace(energy, key=energy.key + b"-other"),
        "after the message's arrival": like(iterations, encode_iterations(future)),
    }


@pytest.fixture(scope="module")
def bad(bench: Bench) -> tuple[Stream, dict[str, Record]]:
    """A stream with every kind of bad message scattered through it."""
    fleet = demo_fleet(f"bad-{random.randrange(16**6):06x}", seed=2)
    origin_ns = (time.time_ns() - fleet.end_us * 1000) // 5_000_000_000 * 5_000_000_000
    good = records(fleet, origin_ns)
    wrong = bad_messages(good, time.time_ns())
    mixed, rng = list(good), random.Random(3)
    for one in wrong.values():
        mixed.insert(rng.randrange(len(good) // 4, len(mixed)), one)
    return sent_stream(bench.bootstrap, fleet, origin_ns, mixed), wrong


def letters_on_topic(bootstrap: str, cluster: str) -> dict[tuple[str, int, int], tuple[str, bytes]]:
    """By position: reason and original bytes of the cluster's dead letters."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "tests-letters"})
    try:
        found = {}
        for partition in consumer.list_topics(DEAD_LETTERS, timeout=20).topics[DEAD_LETTERS].partitions:
            end = consumer.get_watermark_offsets(TopicPartition(DEAD_LETTERS, partition), timeout=20)[1]
            consumer.assign([TopicPartition(DEAD_LETTERS, partition, 0)])
            while end and (message := consumer.poll(10)) is not None:
                headers = {name: text.decode() for name, text in message.headers()}
                if (message.key() or b"").startswith(cluster.encode()):
                    at = (
                        headers["wattledger-topic"],
                        *(int(headers[f"wattledger-{n}"]) for n in ("partition", "offset")),
                    )
                    found[at] = (headers["wattledger-reason"], message.value())
                if message.offset() + 1 >= end:
                    break
        return found
    finally:
        consumer.close()


def test_every_bad_message_is_kept_with_its_reason_and_harms_no_other(
    bench: Bench, bad: tuple[Stream, dict[str, Record]]
):
    stream, wrong = bad
    with bench.database() as (dsn, client):
        with bench.worker(dsn, bench.group(stream)) as running:
            wait_until_booked(client, stream.cluster, len(stream.fleet.groups), stream.sealed_ns())
            deadline = time.monotonic() + 60
            # The rows are durable a moment before the worker counts them.
            while (progress := running.progress()) is None or progress.dead_letters < len(wrong):
                assert time.monotonic() < deadline, progress
                time.sleep(0.2)
        assert progress.dead_letters == len(wrong)
        assert books_of(client).closes
        assert books_of(client).total.unobserved_uj == 0
        rows = client.query(
            "SELECT topic, topic_partition, topic_offset, reason, detail, payload FROM dead_letters FINAL "
            "WHERE startsWith(key, {cluster:String})",
            {"cluster": f"{stream.cluster}/"},
            column_formats={"payload": "bytes"},
        ).result_rows
    on_topic = letters_on_topic(bench.bootstrap, stream.cluster)
    assert len(rows) == len(on_topic) == len(wrong)
    for words, record in wrong.items():
        (row,) = [row for row in rows if words in row[4]]
        assert row[0] == record.topic
        assert row[5] == record.value
        reason, value = on_topic[row[0], row[1], row[2]]
        assert words in reason
        assert value == record.value
    assert {row[3] for row in rows} == {"unknown_version", "malformed", "unknown_engine", "invalid"}


def test_a_topic_of_garbage_stops_the_worker_before_it_is_drained(bench: Bench):
    begins = ends(bench.bootstrap)
    rng = random.Random(4)
    # Few, for other tests read the same topic with the ratio as it is.
    send(bench.bootstrap, [Record(ITERATIONS, b"garbage/one", rng.randbytes(50), 0) for _ in range(40)])
    group = f"e2e-garbage-{rng.randrange(16**6):06x}"
    place_group(bench.bootstrap, group, begins)
    with bench.database() as (dsn, _), bench.worker(dsn, group, "--dead-letters-in-a-row", "30") as stopped:
        assert stopped.process.wait(60) == 2
        said = stopped.log.read_text()
        assert "messages" in said
        assert "dead" in said


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("WATTLEDGER_KAFKA", "127.0.0.1:1"),
        ("WATTLEDGER_CLICKHOUSE", "no ClickHouse at http://127.0.0.1:1/nowhere"),
    ],
)
def test_without_a_broker_or_a_database_the_worker_says_so_in_one_line(
    bench: Bench, dsn: str, database: object, missing: str, words: str
):
    found = {"WATTLEDGER_KAFKA": bench.bootstrap, "WATTLEDGER_CLICKHOUSE": dsn}
    found[missing] = "127.0.0.1:1" if missing == "WATTLEDGER_KAFKA" else "http://127.0.0.1:1/nowhere"
    ended = subprocess.run(
        [sys.executable, "-m", "wattledger", "worker", "--group", "e2e-nobody"],
        env={"PATH": "", **found},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert len(ended.stderr.strip().splitlines()) == 1, ended.stderr
    assert words in ended.stderr
