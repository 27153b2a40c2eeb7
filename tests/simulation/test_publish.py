"""`wattledger replay` into a real Kafka: everything arrives, once, co-partitioned, dated before it arrived."""

import json
import time
from collections.abc import Iterator

import pytest
from click.testing import CliRunner
from confluent_kafka import Consumer, TopicPartition

from producers.simulation.fleet import FRAME_US, events, simulate_fleet
from producers.simulation.presets import demo_scenario
from producers.simulation.publish import encode_event, origin_for, publish
from producers.simulation.steady import steady_fleet
from schemas.errors import BrokerUnavailable, WattledgerError
from schemas.frames import decode_energy, decode_iterations
from schemas.topics import ENERGY, ENGINES, ITERATIONS, LOADS
from wattledger.commands.replay import command
from wattledger.local.broker import broker
from wattledger.topics_admin import create_topics

PARTITIONS = 4
TOPICS = (ENGINES, LOADS, ENERGY, ITERATIONS)


@pytest.fixture(scope="module")
def bootstrap() -> Iterator[str]:
    """A broker of this module's own: other tests count the messages of the topics used here."""
    with broker() as running:
        create_topics(running.bootstrap, partitions=PARTITIONS)
        yield running.bootstrap


class Reader:
    """Reads what was added to the topics since it was made."""

    def __init__(self, bootstrap: str) -> None:
        self.consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "test-replay"})
        self.ends = self._positions()

    def _positions(self) -> dict[tuple[str, int], int]:
        found = {}
        for topic in TOPICS:
            for partition in self.consumer.list_topics(topic, timeout=10).topics[topic].partitions:
                at = TopicPartition(topic, partition)
                found[topic, partition] = self.consumer.get_watermark_offsets(at, timeout=10)[1]
        return found

    def read(self):
        until = self._positions()
        expected = sum(until.values()) - sum(self.ends.values())
        self.consumer.assign([TopicPartition(*key, offset) for key, offset in self.ends.items()])
        messages = []
        while len(messages) < expected:
            message = self.consumer.poll(10)
            assert message is not None, f"{len(messages)} of {expected} messages arrived"
            assert message.error() is None, message.error()
            messages.append(message)
        self.consumer.close()
        return messages


def test_a_replay_in_the_past_ends_at_now_and_one_in_real_time_begins_now():
    fleet = steady_fleet(1, 12.0)
    now_ns = 1_800_000_000_123_456_789
    length_ns = fleet.end_us * 1000
    for speed in (0.0, 2.0, 10.0):
        origin_ns = origin_for(fleet, speed, now_ns)
        wall_end_ns = now_ns + (round(length_ns / speed) if speed else 0)
        assert wall_end_ns - 5_000_000_000 < origin_ns + length_ns <= wall_end_ns
        assert origin_ns % 5_000_000_000 == 0
    origin_ns = origin_for(fleet, 1.0, now_ns)
    assert now_ns - FRAME_US * 1000 < origin_ns <= now_ns


@pytest.mark.kafka
def test_every_event_arrives_once_in_order_of_its_group_with_its_bytes(bootstrap):
    fleet = simulate_fleet(demo_scenario(duration_s=60, seed=3))
    reader = Reader(bootstrap)
    told = []
    published = publish(fleet, bootstrap, speed=0, progress=told.append)
    messages = reader.read()
    sent = [encode_event(event) for event in events(fleet, published.origin_ns)]
    assert published.messages == len(sent) == len(messages)
    assert published.bytes == sum(len(value) for _, _, value in sent)
    for key in {(topic, key) for topic, key, _ in sent}:
        arrived = [m.value() for m in messages if (m.topic(), m.key()) == key]
        assert arrived == [value for topic, name, value in sent if (topic, name) == key]
    assert published.end_ns <= time.time_ns()
    assert told == sorted(told)
    assert told[-1] == 1.0


@pytest.mark.kafka
def test_a_groups_streams_share_a_partition(bootstrap):
    reader = Reader(bootstrap)
    publish(steady_fleet(12, 1.0), bootstrap, speed=0)
    homes: dict[str, set[int]] = {}
    for message in reader.read():
        if message.topic() == ITERATIONS:
            homes.setdefault(decode_iterations(message.value()).group_id, set()).add(message.partition())
        elif message.topic() == ENERGY:
            homes.setdefault(decode_energy(message.value()).group_id, set()).add(message.partition())
    assert len(homes) == 12
    assert all(len(partitions) == 1 for partitions in homes.values())
    assert len(set.union(*homes.values())) > 1


@pytest.mark.kafka
def test_a_paced_replay_takes_its_time_and_no_event_is_sent_before_it_happened(bootstrap):
    fleet = steady_fleet(1, 3.0)
    reader = Reader(bootstrap)
    published = publish(fleet, bootstrap, speed=2.0)
    assert published.elapsed_s >= 1.4
    for message in reader.read():
        if message.topic() == ITERATIONS:
            _, arrival_ms = message.timestamp()
            assert decode_iterations(message.value()).end_ns <= (arrival_ms + 1) * 1_000_000


@pytest.mark.kafka
def test_the_command_summarises_and_writes_the_truth(bootstrap, tmp_path):
    result = CliRunner().invoke(
        command,
        ["--duration", "60", "--speed", "max", "--json", "--truth", str(tmp_path / "truth.json")],
        env={"WATTLEDGER_KAFKA": bootstrap},
    )
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    truth = json.loads((tmp_path / "truth.json").read_text())
    assert summary["engines"] == 4
    assert truth["origin_ns"] == summary["origin_ns"]
    assert sum(group["request_iterations"] for group in truth["groups"]) == summary["request_iterations"]


@pytest.mark.kafka
def test_the_command_plays_a_trace_of_ones_own(bootstrap, tmp_path):
    trace = tmp_path / "own.csv"
    rows = [f"{i * 0.2:.1f},{100 + i},20,team-{i % 3}" for i in range(20)]
    trace.write_text("\n".join(["arrival_s,prompt_tokens,output_tokens,tenant", *rows]) + "\n")
    options = ["--trace", str(trace), "--format", "csv", "--engine", "qwen3-14b-h100", "--speed", "max"]
    result = CliRunner().invoke(command, options, env={"WATTLEDGER_KAFKA": bootstrap})
    assert result.exit_code == 0, result.output
    assert "20 requests of 3 tenants" in result.stdout


def test_no_broker_is_one_line_that_says_where_and_what_to_set():
    with pytest.raises(BrokerUnavailable, match=r"localhost:1: .*WATTLEDGER_KAFKA") as caught:
        publish(steady_fleet(1, 1.0), "localhost:1", speed=0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--format", "csv"], "describe a trace"),
        (["--trace", "x.csv"], "needs --format and --engine"),
        (["--trace", "x.csv", "--format", "csv", "--engine", "qwen3-14b-h100"], r"x\.csv: cannot be read"),
    ],
)
def test_options_that_do_not_fit_are_answered_with_the_fix(options, message):
    result = CliRunner().invoke(command, options, env={"WATTLEDGER_KAFKA": "localhost:1"})
    assert isinstance(result.exception, WattledgerError)
    with pytest.raises(WattledgerError, match=message):
        raise result.exception


@pytest.mark.parametrize("speed", ["-1", "fast", "inf", "nan"])
def test_a_speed_that_is_none_is_refused(speed):
    result = CliRunner().invoke(command, ["--speed", speed])
    assert result.exit_code == 2
    assert speed in result.stderr
