"""A worker that asks for signatures books what agents signed, and sets the rest aside by name."""

import json
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Producer

from producers.agent.publisher import Publisher
from producers.agent.spool import Outgoing, Spool, Worth
from schemas.signatures import Sign, new_signing_key, public_bytes, signer, unsigned
from schemas.topics import ENERGY, ENGINES
from streams.ledger.own_footprint import read_own_energy
from streams.trust import NodeKey, stanza
from tests.e2e.conftest import Bench
from tests.rig.ledgers import books_of, wait_until_booked
from tests.rig.streams import Record, Stream, demo_fleet, ends, records

pytestmark = pytest.mark.kafka

DAY = 86_400 * 1_000_000_000


def node_of(record: Record) -> str:
    return record.key.decode().rpartition("/")[0]


def publish_as_agents(bench: Bench, folder: Path, sent: list[Record], sign: dict[str, Sign]) -> None:
    """Through the agents' own spool and publisher, one of each per node."""
    for node, signs in sign.items():
        spool = Spool(folder / f"{node.replace('/', '-')}.db", 1 << 30)
        spool.put(
            [
                Outgoing(one.topic, one.key.decode(), one.value, Worth.FACT, node, one.at_ns)
                for one in sent
                if node_of(one) == node
            ]
        )
        publisher = Publisher(spool, bench.bootstrap, sign=signs)
        deadline = time.monotonic() + 60
        while spool.messages:
            assert time.monotonic() < deadline, spool.messages
            publisher.pump()
            time.sleep(0.01)
        publisher.close(10)
        spool.close()


@pytest.fixture
def keys(tmp_path: Path) -> Callable[[str, int], tuple[Sign, str]]:
    def make(node: str, until_ns: int = 2**62) -> tuple[Sign, str]:
        key = new_signing_key(tmp_path / f"{random.randrange(16**8):08x}.pem")
        return signer(key), stanza(NodeKey(node, public_bytes(key), 0, until_ns, (f"{node}/*",)))

    return make


def test_what_its_node_signed_is_booked_and_nothing_else(
    bench: Bench, tmp_path: Path, keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATTLEDGER_LOG_FORMAT", "json")
    fleet = demo_fleet(f"signed-{random.randrange(16**6):06x}")
    origin_ns = (time.time_ns() - fleet.end_us * 1000) // 5_000_000_000 * 5_000_000_000
    sent = records(fleet, origin_ns)
    nodes = sorted({node_of(one) for one in sent})
    made = {node: keys(node) for node in nodes}
    old, old_entry = keys(nodes[0], DAY)
    stranger, _ = keys(nodes[0])
    registry = tmp_path / "nodes.toml"
    registry.write_text("\n".join([old_entry, *(entry for _, entry in made.values())]))

    stream = Stream(fleet, origin_ns, ends(bench.bootstrap))
    publish_as_agents(bench, tmp_path, sent, {node: sign for node, (sign, _) in made.items()})
    victim = next(one for one in sent if one.topic == ENERGY and node_of(one) == nodes[0])
    descriptor = next(one for one in sent if one.topic == ENGINES and node_of(one) == nodes[0])
    own, foreign = made[nodes[0]][0], made[nodes[1]][0]
    forged = {
        "unsigned": unsigned,
        "unknown_key": stranger,
        "expired_key": old,
        "foreign_key": foreign,
        "bad_signature": lambda messages: own([(topic, key, value + b"!") for topic, key, value in messages]),
    }
    producer = Producer({"bootstrap.servers": bench.bootstrap, "partitioner": "murmur2_random"})
    for sign in forged.values():
        for one in (victim, descriptor):
            producer.produce(
                one.topic, one.value, one.key, headers=sign([(one.topic, one.key, one.value)])[0]
            )
    assert producer.flush(30) == 0

    with bench.database() as (dsn, client):
        with bench.worker(dsn, bench.group(stream), "--require-signatures", str(registry)) as running:
            wait_until_booked(client, stream.cluster, len(fleet.groups), stream.sealed_ns())
            deadline = time.monotonic() + 60
            while (progress := running.progress()) is None or progress.dead_letters < len(forged):
                assert time.monotonic() < deadline, progress
                time.sleep(0.2)
        assert books_of(client).closes
        assert books_of(client).total.unobserved_uj == 0
        found = client.query(
            "SELECT reason, count() FROM dead_letters FINAL WHERE topic = {topic:String} AND key = {key:String} "
            "GROUP BY reason",
            parameters={"topic": ENERGY, "key": victim.key.decode()},
        ).result_rows
        (own,) = read_own_energy(client, from_ns=0, to_ns=2**62, as_of_ns=2**62)
    assert dict(found) == dict.fromkeys(forged, 1)
    assert own.role == "worker"
    assert own.energy_uj == pytest.approx(own.cpu_s * 3.5e6, rel=1e-6)
    assert own.cpu_s > 1.0
    said = [json.loads(line)["message"] for line in running.log.read_text().splitlines()]
    assert any(message.startswith("gate open") for message in said)
    refused = [message for message in said if "side input refused" in message and stream.cluster in message]
    assert len(refused) == len(forged)
