"""A simulated log: three co-partitioned topics of a small fleet, with disorder and repeats within the wait."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from schemas.energy import ActiveLoad, EnergyFrame
from schemas.frames import encode_energy, encode_iterations
from schemas.iterations import IterationFrame
from schemas.side_input_codec import encode_load
from schemas.side_inputs import Load
from schemas.topics import ENERGY, ITERATIONS, LOADS
from streams.pipeline import Message
from streams.side_inputs import SideInputs
from streams.windows import WindowRules
from tests.builders import SECOND, T0, decode_frame, descriptor, energy_frame

__all__ = ["PARTITIONS", "RULES", "Log", "make_log", "side_inputs"]

RULES = WindowRules(
    window_ns=2 * SECOND, wait_ns=SECOND // 2, silent_ns=3 * SECOND, silent_meter_ns=4 * SECOND
)
"""Small, so that a schedule of a hundred messages closes a dozen windows."""
PARTITIONS = 2
HOME = {"lab/a": 0, "lab/b": 0, "lab/c": 1}
"""Two groups share a partition: the committed offset then lies before frames that are long sealed."""
UNTIL_S = 9
FRAME_S = 0.75
"""Not a part of the window: frames lie across its edges."""
REBORN_S = 5.0
"""When group c's engine starts a new process, in the middle of a window."""
LOAD = ActiveLoad("load-b", "lab/b", T0 + SECOND, T0 + 3 * SECOND)

GARBAGE = (b"no frame at all", b"no load either")

Position = tuple[str, int]
Identity = tuple[str, str, int]
"""Topic, incarnation and sequence."""


@dataclass(frozen=True, slots=True, eq=False)
class Log:
    """What lies on the broker, by topic and partition; offsets ascend from 0, arrival never falls."""

    messages: dict[Position, tuple[Message, ...]]
    frames: dict[tuple[str, int, int], IterationFrame | EnergyFrame]
    """What lies there, by topic, partition and offset."""
    refused: frozenset[tuple[str, int, int]]
    """Where lies what is no message at all."""

    @cache  # noqa: B019 - the logs are few and live as long as the process
    def touching(
        self, group_id: str, start_ns: int, end_ns: int
    ) -> dict[Identity, list[tuple[str, int, int]]]:
        """The group's frames of which a part lies in the interval, and everywhere that each lies."""
        found: dict[Identity, list[tuple[str, int, int]]] = {}
        for at, frame in self.frames.items():
            if frame.group_id == group_id and frame.start_ns < end_ns and frame.end_ns > start_ns:
                found.setdefault((at[0], frame.incarnation, frame.sequence), []).append(at)
        return found


@dataclass(frozen=True, slots=True)
class _Sent:
    at_s: float
    topic: str
    group: str
    value: bytes
    frame: IterationFrame | EnergyFrame | None = None


@cache
def side_inputs() -> SideInputs:
    """Descriptors of the three engines."""
    side = SideInputs()
    for group in HOME:
        side.add_engine(descriptor(group, group_id=group))
    return side


@cache
def _events() -> tuple[_Sent, ...]:
    """All events of the fleet, dated when they are sent."""
    return tuple(event for group in HOME for event in _group_events(group))


def _group_events(group: str) -> Iterator[_Sent]:
    for number in range(round(UNTIL_S / FRAME_S)):
        start_s, end_s = number * FRAME_S, (number + 1) * FRAME_S
        loads = (LOAD,) if group == "lab/b" and start_s < 3 and end_s > 1 else ()
        metered = _metered(group, number, start_s, end_s, loads)
        yield _Sent(end_s, ENERGY, group, encode_energy(metered), metered)
        if group == "lab/a" and number == 7:
            continue  # a frame that was never sent: the only unobserved energy there is
        for frame in _iteration_frames(group, number, start_s, end_s):
            yield _Sent(end_s, ITERATIONS, group, encode_iterations(frame), frame)
    if group == "lab/b":
        ended = Load("load-b", "model_load", group, group, "1-cafe", LOAD.start_ns, LOAD.end_ns, "small-8b")
        yield _Sent(3.2, LOADS, group, encode_load(ended))
    if group == "lab/c":
        yield _Sent(2.2, ITERATIONS, group, GARBAGE[0])
        yield _Sent(5.2, LOADS, group, GARBAGE[1])


def _metered(
    group: str, number: int, start_s: float, end_s: float, loads: tuple[ActiveLoad, ...]
) -> EnergyFrame:
    """Readings after the frame's start only: a window's left edge rests on the frame before."""
    whole = energy_frame(
        start_s, end_s, sequence=number, step_s=0.25, group_id=group, engines=(group,), loads=loads
    )
    fresh = slice(1 if number else 0, None)
    return replace(
        whole,
        reading_meter=whole.reading_meter[fresh],
        reading_time_ns=whole.reading_time_ns[fresh],
        reading_uj=whole.reading_uj[fresh],
    )


def _iteration_frames(group: str, number: int, start_s: float, end_s: float) -> Iterator[IterationFrame]:
    def decoding(since_s: float, first: int, **options: Any) -> IterationFrame:
        return decode_frame(
            since_s, end_s, sequence=first, engine_id=group, group_id=group, iterations=3, **options
        )

    if group == "lab/a":
        yield decoding(start_s, number, first_ordinal=number // 2)
    elif group == "lab/b" and start_s >= 3:
        yield decoding(start_s, number - 4, born_s=1.0, load_id="load-b", first_ordinal=number)
    elif group == "lab/c" and end_s <= REBORN_S:
        yield decoding(start_s, number)
    elif group == "lab/c":
        since_s = max(start_s, REBORN_S)
        yield decoding(since_s, number - int(REBORN_S / FRAME_S), born_s=REBORN_S, first_ordinal=50)


@cache
def make_log(seed: int, *, late: bool = False) -> Log:
    """The fleet's events in one order of arrival: late by less than the wait, some of them twice.

    late: some of them later than any wait, so that what a window is made of depends on when it is closed.
    """
    rng = random.Random(seed)
    arrivals: list[tuple[float, _Sent]] = []
    for event in _events():
        at_s = event.at_s + rng.choice((0.0, 0.0, 0.2, 0.45))
        if late and rng.random() < 0.15:
            at_s += rng.uniform(0.5, 6.0)
        arrivals.append((at_s, event))
        if rng.random() < 0.15:
            arrivals.append((at_s + rng.uniform(0.0, 0.45), event))
    arrivals.sort(key=lambda one: one[0])
    messages: dict[Position, list[Message]] = {
        (topic, partition): [] for topic in (ITERATIONS, ENERGY, LOADS) for partition in range(PARTITIONS)
    }
    lay: dict[tuple[str, int, int], _Sent] = {}
    for at_s, event in arrivals:
        lies = messages[event.topic, HOME[event.group]]
        lay[event.topic, HOME[event.group], len(lies)] = event
        lies.append(
            Message(
                topic=event.topic,
                partition=HOME[event.group],
                offset=len(lies),
                arrival_ns=T0 + round(at_s * 1000) * 1_000_000,
                key=event.group.encode(),
                value=event.value,
            )
        )
    refused = frozenset(at for at, event in lay.items() if event.value in GARBAGE)
    return Log(
        {position: tuple(lies) for position, lies in messages.items()},
        {at: event.frame for at, event in lay.items() if event.frame is not None},
        refused,
    )
