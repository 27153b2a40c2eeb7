"""Refused messages are kept byte for byte, listed, and published again without counting anything twice."""

import json
import os
import time
import uuid
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka import Message as Record

from schemas.errors import WattledgerError
from schemas.topics import ENERGY, ITERATIONS, MODELS, POLICIES
from streams.ledger.dead_letters import count_letters, find_letters
from streams.ledger.incident_rows import dead_letter_table
from streams.ledger.sink import ClickHouseSink
from streams.ledger.tables import arrow_schema
from streams.pipeline import DeadLetter, Message
from streams.side_inputs import SideInputs
from streams.worker.dead_letters import bury_in
from streams.worker.limits import DeadLetterLimits
from streams.worker.side_reader import SideReader
from tests.builders import SECOND, T0, decode_frame, descriptor, energy_frame
from tests.rig.booked import Booked, state
from wattledger.__main__ import cli
from wattledger.local.broker import Broker
from wattledger.topics_admin import create_topics

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

BYTES = bytes(range(256))
KEY = b"group/\xff"


def bury(client: "Client", *letters: DeadLetter) -> None:
    ClickHouseSink(client).write(
        {"dead_letters": dead_letter_table(letters)}, arrow_schema("batches").empty_table()
    )


def letter(offset: int, topic: str = ITERATIONS, reason: str = "malformed") -> DeadLetter:
    message = Message(topic, 0, offset, T0 + offset * 1_000_000, KEY, BYTES)
    return DeadLetter(message, reason, f"wrong at {offset}")


def run(dsn: str, *arguments: str, kafka: str = "") -> Result:
    environment = {**os.environ, "WATTLEDGER_CLICKHOUSE": dsn, "WATTLEDGER_KAFKA": kafka}
    return CliRunner().invoke(cli, ["dead-letters", *arguments], env=environment)


def test_a_letter_comes_back_byte_for_byte(database: "Client", dsn: str) -> None:
    bury(database, letter(1), letter(2), letter(3, ENERGY, "unknown_version"))
    found = find_letters(database, topic=ITERATIONS)
    assert [(one.key, one.payload, one.position) for one in found] == [
        (KEY, BYTES, f"{ITERATIONS}/0/1"),
        (KEY, BYTES, f"{ITERATIONS}/0/2"),
    ]
    assert [(group.topic, group.reason, group.count) for group in count_letters(database)] == [
        (ITERATIONS, "malformed", 2),
        (ENERGY, "unknown_version", 1),
    ]
    assert run(dsn, "show", f"{ITERATIONS}/0/1", "--payload").stdout_bytes == BYTES


def test_the_command_lists_by_reason_and_names_positions(database: "Client", dsn: str) -> None:
    bury(database, *(letter(n) for n in range(3)), letter(9, ENERGY, "unknown_version"))
    listed = run(dsn, "list", "--reason", "unknown_version", "--json")
    assert [one["position"] for one in json.loads(listed.output)["letters"]] == [f"{ENERGY}/0/9"]
    assert "wrong at 2" in run(dsn, "list").output
    assert run(dsn, "show", "nothing/0/1").exit_code != 0
    assert run(dsn, "show", "nowhere").exit_code == 2


def test_frames_of_an_engine_nobody_had_announced_are_booked_once_when_they_come_again(
    database: "Client",
) -> None:
    """Published again twice, after their windows were sealed without them."""
    frames = [
        frame
        for number in range(42)
        for frame in (
            energy_frame(number / 2, number / 2 + 0.5, sequence=number),
            decode_frame(number / 2, number / 2 + 0.5, sequence=number),
        )
    ]
    worker = Booked(database, [descriptor()])
    worker.send(frames)
    expected = state(database)
    stranger = Booked(database, [])
    stranger.send(frames)
    letters = find_letters(database, replayed=False)
    assert {one.reason for one in letters} == {"unknown_engine"}
    assert len(letters) == 42
    stranger.side.add_engine(descriptor())
    for number, one in enumerate([*letters, *letters]):
        copy = Message(one.topic, 0, 1000 + number, T0 + 60 * SECOND, one.key, one.payload)
        stranger.log.append(copy)
        stranger.receive(copy)
    stranger.repair_all()
    assert state(database) == expected


@pytest.mark.kafka
def test_replay_publishes_the_original_bytes_once(database: "Client", dsn: str, kafka: Broker) -> None:
    create_topics(kafka.bootstrap, partitions=1)
    begin = ends(kafka.bootstrap)
    bury(database, letter(1), letter(2))
    assert "would publish 2" in run(dsn, "replay", "--dry-run", kafka=kafka.bootstrap).output
    assert "published 2" in run(dsn, "replay", kafka=kafka.bootstrap).output
    assert "published 0" in run(dsn, "replay", kafka=kafka.bootstrap).output
    assert [one.replays for one in find_letters(database)] == [1, 1]
    copies = read(kafka.bootstrap, begin)
    assert [(copy.key(), copy.value()) for copy in copies] == [(KEY, BYTES)] * 2
    assert sorted(dict(copy.headers() or [])["wattledger-replay-of"] for copy in copies) == [
        f"{ITERATIONS}/0/1".encode(),
        f"{ITERATIONS}/0/2".encode(),
    ]


def consumer_of(bootstrap: str) -> Consumer:
    return Consumer({"bootstrap.servers": bootstrap, "group.id": "test", "enable.auto.commit": False})


def ends(bootstrap: str) -> dict[int, int]:
    consumer = consumer_of(bootstrap)
    partitions = consumer.list_topics(ITERATIONS).topics[ITERATIONS].partitions
    found = {p: consumer.get_watermark_offsets(TopicPartition(ITERATIONS, p))[1] for p in partitions}
    consumer.close()
    return found


def read(bootstrap: str, begin: dict[int, int]) -> list[Record]:
    consumer = consumer_of(bootstrap)
    consumer.assign([TopicPartition(ITERATIONS, p, offset) for p, offset in begin.items()])
    found: list[Record] = []
    deadline = time.monotonic() + 60
    while len(found) < 2 and time.monotonic() < deadline:
        found += consumer.consume(2, timeout=1.0)
    consumer.close()
    return found


def test_too_many_refusals_in_a_row_or_among_the_last_thousand_stop_the_worker_with_the_reason() -> None:
    limits = DeadLetterLimits(most_ratio=0.1, most_in_a_row=20)
    limits.check(1000, 99, 3)
    with pytest.raises(WattledgerError, match=r"109 of the last 1000 .*--dead-letter-ratio"):
        limits.check(10, 10, 10)
    with pytest.raises(WattledgerError, match=r"20 messages in a row .*--dead-letters-in-a-row"):
        DeadLetterLimits(most_ratio=1.0, most_in_a_row=20).check(20, 20, 20)


def test_a_few_refusals_at_the_start_stop_nothing() -> None:
    DeadLetterLimits(most_ratio=0.1, most_in_a_row=500).check(40, 40, 40)


@pytest.mark.kafka
def test_a_refused_side_input_is_in_the_table_once_and_published_again_as_it_was(
    database: "Client", dsn: str, kafka: Broker
) -> None:
    create_topics(kafka.bootstrap, partitions=1)
    key = uuid.uuid4().hex.encode()
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for topic in (MODELS, POLICIES):
        producer.produce(topic, BYTES, key)
    assert producer.flush(20) == 0
    for _ in range(2):
        reader = SideReader(kafka.bootstrap, SideInputs(), bury_in(ClickHouseSink(database)))
        reader.refresh()
        reader.close()
    found = [one for one in find_letters(database) if one.key == key]
    assert [(one.topic, one.payload, one.reason) for one in sorted(found, key=lambda one: one.topic)] == [
        (topic, BYTES, "malformed") for topic in (MODELS, POLICIES)
    ]
    assert "published 1" in run(dsn, "replay", "--topic", MODELS, kafka=kafka.bootstrap).output
