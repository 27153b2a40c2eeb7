"""The doctor listens: frames that arrive, frames that cannot be read, clocks that differ."""

import threading
import time
import uuid
from collections import Counter
from dataclasses import replace

import pytest
from confluent_kafka import Producer

from schemas.frames import encode_energy, encode_iterations
from schemas.topics import ENERGY, ITERATIONS
from tests.builders import T0, decode_frame, energy_frame
from wattledger.doctor.contract import Finding, Status
from wattledger.doctor.stream import Heard, clock_findings, frame_findings, listen
from wattledger.local.broker import Broker
from wattledger.topics_admin import create_topics


def by_name(findings) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


def energy_at(group: str, end_ns: int) -> bytes:
    end_s = (end_ns - T0) / 1e9
    return encode_energy(replace(energy_frame(end_s - 0.5, end_s), group_id=group))


@pytest.mark.kafka
def test_what_is_sent_while_the_doctor_listens_is_heard(kafka: Broker) -> None:
    create_topics(kafka.bootstrap, partitions=4)
    mark = uuid.uuid4().hex[:8]
    stop = threading.Event()

    def send() -> None:
        producer = Producer({"bootstrap.servers": kafka.bootstrap, "linger.ms": 0})
        iterations = encode_iterations(
            replace(decode_frame(0, 0.5), group_id=f"{mark}/here/a", engine_id=f"{mark}/here/a")
        )
        while not stop.wait(0.05):
            producer.produce(ENERGY, energy_at(f"{mark}/here/a", time.time_ns()), f"{mark}/here/a")
            producer.produce(
                ENERGY, energy_at(f"{mark}/ahead/a", time.time_ns() + 8 * 10**9), f"{mark}/ahead/a"
            )
            producer.produce(ITERATIONS, iterations, f"{mark}/here/a")
            producer.produce(ITERATIONS, b"garbage", f"{mark}/here/a")
            producer.poll(0)
        producer.flush(10)

    energy_at(f"{mark}/warm/up", time.time_ns())  # the first frame is encoded slowly
    sender = threading.Thread(target=send)
    sender.start()
    try:
        heard = listen(kafka.bootstrap, 8.0)
    finally:
        stop.set()
        sender.join()
    found = by_name(frame_findings(heard))
    assert found[f"frames {ENERGY}"].status is Status.OK
    assert found[f"frames {ITERATIONS}"].status is Status.OK
    assert found["frames that can be read"].status is Status.FAILED
    clocks = by_name(clock_findings(heard))
    assert clocks["clock here"].status is Status.OK
    ahead = next(one for one in clock_findings(heard) if "are ahead" in one.detail)
    assert f"{mark}/ahead by" in ahead.detail
    assert "chrony" in ahead.fix


def test_silence_names_the_producer_that_is_missing() -> None:
    found = by_name(frame_findings(Heard(listened_s=5.0, messages=Counter({ENERGY: 10}), nodes={"a/b"})))
    assert found[f"frames {ENERGY}"].status is Status.OK
    assert found[f"frames {ITERATIONS}"].status is Status.FAILED
    assert "hook" in found[f"frames {ITERATIONS}"].fix
    silent = by_name(frame_findings(Heard(listened_s=5.0)))
    assert "wattledger agent" in silent[f"frames {ENERGY}"].fix
    assert by_name(clock_findings(Heard(listened_s=5.0)))["clocks"].status is Status.SKIPPED


def heard_with(delay_s: float = 0.01, **lead_s: float) -> Heard:
    return Heard(5.0, Counter({ENERGY: 5}), [], set(lead_s), delay_s, lead_s)


@pytest.mark.parametrize(
    ("heard", "name", "status", "said"),
    [
        (heard_with(-3.0, n=-0.5), "clock here", Status.FAILED, "3.0 s behind"),
        (heard_with(4.0, n=-0.5), "clock here", Status.FAILED, "4.0 s ahead"),
        (heard_with(0.1, n=-0.5), "clock here", Status.OK, "agrees"),
        (heard_with(0.1, n=-0.5), "clocks of the nodes", Status.OK, "1 agree"),
        (heard_with(0.1, n=2.0, m=-1.0), "clocks of the nodes", Status.FAILED, "1 of 2 are ahead"),
        (
            heard_with(0.1, n=-400.0, m=-1.0),
            "clocks of the nodes",
            Status.WARNING,
            "older than 30 s, n by 400 s",
        ),
    ],
)
def test_a_clock_that_is_off_is_named(heard: Heard, name: str, status: Status, said: str) -> None:
    found = by_name(clock_findings(heard))[name]
    assert found.status is status
    assert said in found.detail
    assert bool(found.fix) == (status is not Status.OK)
