"""A full spool, up to the books: joined frames book the same microjoules, rows given up are `unobserved`."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from producers.agent.overflow import Overflow, Room
from producers.agent.reserve import Reserve
from producers.agent.spool import ON_THEIR_WAY, Outgoing, Spool, Worth
from producers.simulation.fleet import events
from producers.simulation.publish import encode_event
from schemas.frames import decode_energy, decode_iterations
from schemas.iterations import UNRECORDED
from schemas.side_input_codec import decode_engine
from schemas.topics import ENERGY, ENGINES, ITERATIONS, LOADS
from streams.batch import Batch
from streams.booking import book
from streams.pipeline import Frontier, Message, Pipeline
from streams.side_inputs import SideInputs
from streams.split import SplitRules
from streams.windows import WindowRules
from tests.rig.streams import demo_fleet

ORIGIN_NS = 1_790_000_000_000_000_000
FLUSH_NS = 500_000_000
ROOMY = 1 << 40

Sent = tuple[str, str, bytes, int]
"""Topic, key, message, event time."""


@pytest.fixture(scope="module")
def sent() -> list[Sent]:
    """A minute of the demo's fleet, as an agent would have it to publish."""
    fleet = demo_fleet("overflow", duration_s=60.0)
    found = []
    for event in events(fleet, ORIGIN_NS):
        topic, key, value = encode_event(event)
        found.append((topic, key.decode(), value, event.at_ns))
    return found


def worth(topic: str) -> Worth:
    return {ITERATIONS: Worth.DETAIL, ENERGY: Worth.ENERGY}.get(topic, Worth.FACT)


def stream(topic: str, key: str, value: bytes) -> str:
    return decode_iterations(value).engine_id if topic == ITERATIONS else key


def through_spool(path: Path, sent: Sequence[Sent], limit: int) -> tuple[list[Sent], list[Room]]:
    """What Kafka gets after an outage in which all of this was spooled, flush by flush."""
    spool = Spool(path, limit)
    overflow, rooms = Overflow(spool), []
    flushes: dict[int, list[Outgoing]] = defaultdict(list)
    for topic, key, value, at_ns in sent:
        message = Outgoing(topic, key, value, worth(topic), stream(topic, key, value), at_ns)
        flushes[at_ns // FLUSH_NS].append(message)
    for flush in flushes.values():
        spool.put(flush)
        rooms.append(overflow.make_room())
    assert spool.size_bytes <= max(limit, 0) or limit == ROOMY
    waiting = spool.after(0, 10**6)
    spool.close()
    return [(m.topic, m.key, m.value, 0) for m in waiting], rooms


def through_memory(path: Path, sent: Sequence[Sent], limit: int) -> tuple[list[Sent], list[Room]]:
    """The same where the disk took nothing all the while, and there was room on it again at the end."""
    reserve, rooms = Reserve(limit), []
    flushes: dict[int, list[Outgoing]] = defaultdict(list)
    for topic, key, value, at_ns in sent:
        message = Outgoing(topic, key, value, worth(topic), stream(topic, key, value), at_ns)
        flushes[at_ns // FLUSH_NS].append(message)
    for flush in flushes.values():
        reserve.keep(flush, {}, ())
        rooms.append(reserve.make_room())
    spool = Spool(path, ROOMY)
    assert reserve.empty_into(spool)
    waiting = spool.after(0, 10**6)
    spool.close()
    return [(m.topic, m.key, m.value, 0) for m in waiting], rooms


def booked(messages: Sequence[Sent]) -> list[Batch]:
    """Every batch that the worker's core books of what it is sent."""
    side = SideInputs()
    for topic, _, value, _ in messages:
        if topic == ENGINES:
            side.add_engine(decode_engine(value))
    pipeline = Pipeline(WindowRules(), side, Frontier())
    batches = []
    arrival_ns = ORIGIN_NS + 3_600_000_000_000
    for offset, (topic, key, value, _) in enumerate(messages):
        if topic in (ITERATIONS, ENERGY, LOADS):
            pipeline.receive(Message(topic, 0, offset, arrival_ns + offset, key.encode(), value))
            work = pipeline.take()
            assert not work.dead_letters
            assert not work.late_frames
            batches += [book(closed, side, SplitRules()) for closed in work.windows]
            pipeline.settle(work)
    return batches


def lines(batches: Sequence[Batch]) -> Iterator[tuple[object, ...]]:
    """What is booked to whom."""
    for batch in batches:
        for account in batch.accounts:
            yield batch.batch_id, account.account, account.engine_id, account.energy_uj, account.host_uj
        for one in batch.requests:
            for place, ordinal in enumerate(one.window.requests.ordinal.tolist()):
                client = one.window.requests.client_id[place]
                yield batch.batch_id, client, ordinal, int(one.energy_uj[place]), int(one.host_uj[place])


def size(sent: Sequence[Sent]) -> int:
    return sum(len(value) + 160 for _, _, value, _ in sent)


def test_joined_frames_book_the_same_microjoules_to_the_same_requests(
    tmp_path: Path, sent: list[Sent]
) -> None:
    limit = size(sent) * 8 // 10
    folded, rooms = through_spool(tmp_path / "full.db", sent, limit)
    plain, _ = through_spool(tmp_path / "roomy.db", sent, ROOMY)
    assert sum(room.joined for room in rooms) > 0
    assert not any(room.lost for room in rooms)
    assert len(folded) < len(plain)
    assert sorted(lines(booked(folded)), key=repr) == sorted(lines(booked(plain)), key=repr)


@pytest.mark.parametrize("through", [through_spool, through_memory])
def test_rows_that_are_given_up_are_unobserved_with_their_cause_and_every_book_closes(
    tmp_path: Path, sent: list[Sent], through: Callable[..., tuple[list[Sent], list[Room]]]
) -> None:
    energy = size([one for one in sent if one[0] != ITERATIONS])
    head = size(sent[:ON_THEIR_WAY])
    folded, rooms = through(tmp_path / "full.db", sent, energy + head + size(sent) // 20)
    lost = [one for room in rooms for one in room.lost]
    assert {one.worth for one in lost} == {Worth.DETAIL}
    given_up = [decode_iterations(value) for topic, _, value, _ in folded if topic == ITERATIONS]
    given_up = [frame for frame in given_up if UNRECORDED in frame.iteration_kind]
    # What is told of the loss is what lies in the frames.
    assert sum(one.tokens for one in lost) == sum(int(f.iteration_padded_tokens.sum()) for f in given_up) > 0
    assert sum(one.frames for one in lost) == len(given_up)
    before, after = booked(through_spool(tmp_path / "roomy.db", sent, ROOMY)[0]), booked(folded)
    for batch in after:
        named = ("request", "idle", "cold_start", "overhead", "unobserved")
        assert sum(batch.account_uj(account) for account in named) == batch.metered_uj
        if "spool_full" in batch.gap_causes:
            assert batch.account_uj("unobserved") > 0
            assert batch.gap_ns > 0
    causes = {cause for batch in after for cause in batch.gap_causes}
    assert "spool_full" in causes
    assert "sequence_gap" not in causes
    # The meter's side is untouched: not a joule moved between windows.
    assert {b.start_ns: b.metered_uj for b in after if b.group_id == after[0].group_id} == {
        b.start_ns: b.metered_uj for b in before if b.group_id == after[0].group_id
    }
    # Iterations that are still there are booked to their requests as if nothing had happened.
    whole = {batch.batch_id: batch.account_uj("request") for batch in before}
    kept = [batch for batch in after if not batch.gap_causes and batch.account_uj("request")]
    assert kept
    assert all(batch.account_uj("request") == whole[batch.batch_id] for batch in kept)


def test_energy_is_thinned_last_and_costs_no_joule(tmp_path: Path, sent: list[Sent]) -> None:
    head = size(sent[:ON_THEIR_WAY])
    energy = size([one for one in sent if one[0] == ENERGY])
    folded, rooms = through_spool(tmp_path / "full.db", sent, head + energy // 2)
    worths = [one.worth for room in rooms for one in room.lost]
    assert worths.index(Worth.DETAIL) < worths.index(Worth.ENERGY)
    for key in {key for topic, key, _, _ in sent if topic == ENERGY}:
        first, last = (drawn_uj(messages, key) for messages in (sent, folded))
        assert first == last


def drawn_uj(messages: Sequence[Sent], group: str) -> dict[str, int]:
    """By counter: from its first reading to its last."""
    readings: dict[str, list[int]] = defaultdict(list)
    for topic, key, value, _ in messages:
        if topic == ENERGY and key == group:
            frame = decode_energy(value)
            for place, uj in zip(frame.reading_meter.tolist(), frame.reading_uj.tolist(), strict=True):
                readings[f"{frame.meters[place].meter_id}/{frame.meters[place].epoch}"].append(uj)
    return {counter: max(found) - min(found) for counter, found in readings.items()}


@pytest.mark.parametrize(("topic", "worth"), [(ITERATIONS, Worth.DETAIL), (ENERGY, Worth.ENERGY)])
def test_what_this_program_does_not_read_is_counted_and_does_not_stop_the_agent(
    tmp_path: Path, sent: list[Sent], topic: str, worth: Worth
) -> None:
    """An agent that was rolled back finds what the newer one left."""
    value = next(value for at, _, value, _ in sent if at == topic)
    newer = value[:2] + b"\xff" + value[3:] + bytes(3000)
    spool = Spool(tmp_path / "spool.db", 400_000)
    spool.put([Outgoing(topic, "g", newer, worth, "e", n * FLUSH_NS) for n in range(200)])
    room = Overflow(spool).make_room()
    assert [(one.stream, one.worth, one.frames > 0) for one in room.lost] == [("e", worth, True)]
    spool.close()


def test_room_is_made_only_when_there_is_none(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db", 1 << 20)
    spool.put([Outgoing(ITERATIONS, "g", bytes(1000), Worth.DETAIL, "e", n) for n in range(300)])
    assert Overflow(spool).make_room() == Room()
    assert spool.messages == 300
    spool.close()
