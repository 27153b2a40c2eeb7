"""Schedules: drawn from a seed, run to the end, judged, and shrunk to the fewest actions that still fail."""

import random
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from tests.protocol.repairs import crossed, figures
from tests.protocol.store import Store
from tests.protocol.worlds import (
    LATE_WEIGHTS,
    SOUND,
    WEIGHTS,
    Action,
    Kind,
    Parts,
    act,
    heal,
    make_world,
    repair_all,
)

__all__ = ["Failure", "Schedule", "draw", "failure_of", "shrink", "told"]

LOGS = 48
"""Orders of arrival; each has one undisturbed run to compare with."""
LENGTHS = (20, 40, 60, 90)
"""Actions in a schedule; the log is read to its end afterwards."""
OVERTAKEN = 0.5
"""Of the schedules with late frames: those in which two attempts at one window, of different frames, are likely.
Drawn action by action, one in thousands has them."""

EVERYTHING_TO_ONE = 0b110000
"""Argument of what spreads the partitions."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """What happens, in order, to workers that read one log."""

    log_seed: int
    late: bool
    """Whether frames come later than their windows wait: then what repairs make of it is compared."""
    actions: tuple[Action, ...]


@dataclass(frozen=True, slots=True)
class Failure:
    """What a schedule broke."""

    schedule: Schedule
    why: str


def draw(seed: int, *, late: bool = False) -> Schedule:
    """A schedule from a seed."""
    rng = random.Random(seed)
    weights = LATE_WEIGHTS if late else WEIGHTS
    kinds = rng.choices(list(weights), list(weights.values()), k=rng.choice(LENGTHS))
    actions = [_drawn(kind, rng) for kind in kinds]
    if late and rng.random() < OVERTAKEN:
        at = rng.randrange(len(actions))
        actions[at:at] = _overtaken(rng)
    return Schedule(rng.randrange(LOGS), late, tuple(actions))


def _drawn(kind: Kind, rng: random.Random) -> Action:
    return Action(kind, rng.getrandbits(1), rng.getrandbits(16))


def _overtaken(rng: random.Random) -> list[Action]:
    """A worker is written off with an insert under way; it lands once the next one read on and sealed, or later."""
    first = rng.getrandbits(1)
    read, read_on = rng.randrange(4, 12), rng.choice((0, rng.randrange(8, 24)))
    written_off = [
        *(_drawn("deliver", rng) for _ in range(read)),
        Action("take", first, rng.getrandbits(16)),
        Action("write_off", first, EVERYTHING_TO_ONE),
    ]
    if not read_on:
        return written_off
    return [
        *written_off,
        *(_drawn("deliver", rng) for _ in range(read_on)),
        Action("take", first, rng.getrandbits(16)),
        *[Action("advance", first, 0)] * 3,
        Action("land", first, 1),
    ]


@cache
def undisturbed(log_seed: int) -> Store:
    """The store after one worker read the whole log in peace."""
    world = make_world(log_seed, SOUND, late=False)
    heal(world)
    assert not world.store.open_batches()
    return world.store


@cache
def _expected(log_seed: int, *, late: bool) -> dict[Any, Any]:
    """What readers see of it: row for row, or, where frames came late, whatever can be added up."""
    store = undisturbed(log_seed)
    return figures(store) if late else store.visible()


def failure_of(schedule: Schedule, parts: Parts = SOUND) -> Failure | None:
    """Run a schedule to its end; None if the store is the undisturbed one."""
    world = make_world(schedule.log_seed, parts, late=schedule.late)
    store = world.store
    try:
        for action in schedule.actions:
            act(world, action)
        heal(world)
        if schedule.late:
            repair_all(world)
        else:
            assert not (odd := crossed(world.store)), f"written twice, of different frames: {odd}"
    except AssertionError as error:
        return Failure(schedule, f"{type(error).__name__}: {error}")
    if open_batches := store.open_batches():
        return Failure(schedule, f"books do not close: {open_batches[:3]}")
    if twice := store.overlaps():
        return Failure(schedule, f"time booked twice: {twice[:3]}")
    if forgotten := store.forgotten(world.broker.log):
        return Failure(schedule, f"frames neither booked nor recorded as late: {forgotten[:3]}")
    expected = _expected(schedule.log_seed, late=schedule.late)
    found = figures(store) if schedule.late else store.visible()
    if expected == found:
        return None
    missing = [key for key in expected if key not in found]
    extra = [key for key in found if key not in expected]
    other = [
        (key, expected[key], found[key]) for key in expected if found.get(key, expected[key]) != expected[key]
    ]
    return Failure(schedule, f"missing {missing[:3]}; extra {extra[:3]}; different {other[:3]}")


def shrink(failure: Failure, parts: Parts = SOUND) -> Failure:
    """A failing schedule from which no action can be left out."""
    size = max(1, len(failure.schedule.actions) // 2)
    while True:
        smaller = _without_some(failure, size, parts)
        if smaller is not None:
            failure = smaller
            size = min(size, max(1, len(failure.schedule.actions) // 2))
        elif size == 1:
            return failure
        else:
            size //= 2


def _without_some(failure: Failure, size: int, parts: Parts) -> Failure | None:
    actions = failure.schedule.actions
    for begin in range(0, len(actions), size):
        rest = replace(failure.schedule, actions=actions[:begin] + actions[begin + size :])
        found = failure_of(rest, parts)
        if found is not None:
            return found
    return None


def told(failure: Failure) -> str:
    """A failure in words: what broke, and the actions that lead to it."""
    schedule = failure.schedule
    lines = [f"log {schedule.log_seed}, late {schedule.late}: {failure.why}"]
    return "\n".join(
        lines + [f"  {one.kind} worker={one.worker} argument={one.argument}" for one in schedule.actions]
    )
