"""Schedules: drawn from a seed, run to the end, judged, and shrunk to the fewest actions that still fail."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Literal

from tests.protocol.log import PARTITIONS, make_log
from tests.protocol.store import Store
from tests.protocol.worker import Broker, Insert, Worker, landed

__all__ = ["Action", "Failure", "Schedule", "draw", "failure_of", "shrink", "told"]

LOGS = 48
"""Orders of arrival; each has one undisturbed run to compare with."""
LENGTHS = (20, 40, 60, 90)
"""Actions in a schedule; the log is read to its end afterwards."""
EVERYTHING = frozenset(range(PARTITIONS))

Kind = Literal[
    "deliver",
    "deliver_again",
    "take",
    "advance",
    "advance_unanswered",
    "commit",
    "crash",
    "rebalance",
    "write_off",
    "land",
]
WEIGHTS: dict[Kind, int] = {
    "deliver": 32,
    "deliver_again": 3,
    "take": 12,
    "advance": 32,
    "advance_unanswered": 5,
    "commit": 8,
    "crash": 3,
    "rebalance": 3,
    "write_off": 2,
    "land": 3,
}


@dataclass(frozen=True, slots=True)
class Action:
    """One step of one of two workers; what it means depends on the state, and it may mean nothing."""

    kind: Kind
    worker: int
    argument: int


@dataclass(frozen=True, slots=True)
class Schedule:
    """What happens, in order, to workers that read one log."""

    log_seed: int
    late: bool
    """Whether frames come later than their windows wait: then only the books are compared."""
    actions: tuple[Action, ...]


@dataclass(frozen=True, slots=True)
class Failure:
    """What a schedule broke."""

    schedule: Schedule
    why: str


@dataclass(slots=True)
class World:
    """Two workers, a broker, a store, and inserts of workers that were written off."""

    broker: Broker
    store: Store
    workers: list[Worker]
    late: bool
    adrift: list[Insert] = field(default_factory=list)


WorkerFactory = Callable[[Broker, Store], Worker]


def draw(seed: int, *, late: bool = False) -> Schedule:
    """A schedule from a seed."""
    rng = random.Random(seed)
    kinds = rng.choices(list(WEIGHTS), list(WEIGHTS.values()), k=rng.choice(LENGTHS))
    actions = [Action(kind, rng.randrange(2), rng.randrange(1 << 16)) for kind in kinds]
    return Schedule(rng.randrange(LOGS), late, tuple(actions))


@cache
def undisturbed(log_seed: int) -> dict[Any, Any]:
    """What a reader sees after one worker read the whole log in peace."""
    broker, store = Broker(make_log(log_seed)), Store()
    worker = Worker(broker, store)
    worker.assign(EVERYTHING)
    while worker.finish():
        pass
    assert not store.open_batches()
    return store.visible()


def failure_of(schedule: Schedule, make: WorkerFactory = Worker) -> Failure | None:
    """Run a schedule to its end; None if the store is the undisturbed one."""
    broker, store = Broker(make_log(schedule.log_seed, late=schedule.late)), Store()
    world = World(broker, store, [make(broker, store), make(broker, store)], schedule.late)
    world.workers[0].assign(EVERYTHING)
    try:
        for action in schedule.actions:
            _act(world, action)
        _heal(world)
    except AssertionError as error:
        return Failure(schedule, f"{type(error).__name__}: {error}")
    if open_batches := store.open_batches():
        return Failure(schedule, f"books do not close: {open_batches[:3]}")
    if twice := store.overlaps():
        return Failure(schedule, f"time booked twice: {twice[:3]}")
    if forgotten := store.forgotten(broker.log):
        return Failure(schedule, f"frames neither booked nor recorded as late: {forgotten[:3]}")
    if schedule.late:
        return None
    expected, found = undisturbed(schedule.log_seed), store.visible()
    if expected == found:
        return None
    missing = [key for key in expected if key not in found]
    extra = [key for key in found if key not in expected]
    other = [
        (key, expected[key], found[key]) for key in expected if found.get(key, expected[key]) != expected[key]
    ]
    return Failure(schedule, f"missing {missing[:3]}; extra {extra[:3]}; different {other[:3]}")


def _act(world: World, action: Action) -> None:
    members = [worker for worker in world.workers if worker.partitions] or world.workers
    worker = members[action.worker % len(members)]
    match action.kind:
        case "deliver":
            positions = sorted(worker.at) if worker.pipeline is not None else []
            if positions:
                chosen = positions[action.argument % len(positions)]
                worker.deliver(chosen, 1 + action.argument // 16 % 12)
        case "deliver_again":
            worker.deliver_again()
        case "take":
            worker.most_windows = 1 + action.argument % 4
            worker.take()
        case "advance" | "advance_unanswered":
            worker.advance(answered=action.kind == "advance")
        case "commit":
            worker.commit()
        case _:
            _shake(world, worker, action)


def _shake(world: World, worker: Worker, action: Action) -> None:
    """What changes who reads which partition."""
    match action.kind:
        case "crash":
            worker.revoke()
            _spread(world, action)
        case "rebalance":
            for each in world.workers:
                _finish_or_give_up(world, each, finish=bool(action.argument & 1))
            _spread(world, action)
        case "write_off":
            adrift = worker.revoke()
            if adrift is not None:
                world.adrift.append(adrift)
            _spread(world, action)
        case "land":
            if world.adrift:
                # Frozen in mid-insert, taken for dead, and awake again after another booked the same windows from
                # more frames: the one thing that only a transaction would keep out (docs/operations/faults.md).
                manifest = bool(action.argument & 1) and not world.late
                landed(world.store, world.adrift.pop(), manifest=manifest)


def _finish_or_give_up(world: World, worker: Worker, *, finish: bool) -> None:
    """A rebalance waits for the insert under way, which succeeds or is given up."""
    if finish and worker.inserting is not None:
        worker.insert_data(answered=True)
        worker.insert_manifest(answered=True)
    worker.revoke()


def _spread(world: World, action: Action) -> None:
    """Give all partitions to the group's members anew: eager rebalancing."""
    for each in world.workers:
        each.revoke()
    one = frozenset(p for p in EVERYTHING if (action.argument >> (4 + p)) & 1)
    world.workers[0].assign(one)
    world.workers[1].assign(EVERYTHING - one)


def _heal(world: World) -> None:
    """Nothing happens any more: everything is read, written and committed."""
    for insert in world.adrift:
        landed(world.store, insert, manifest=not world.late)
    world.adrift = []
    moved = True
    while moved:
        moved = sum(worker.finish() for worker in world.workers) > 0  # all of them, every time


def shrink(failure: Failure, make: WorkerFactory = Worker) -> Failure:
    """A failing schedule from which no action can be left out."""
    size = max(1, len(failure.schedule.actions) // 2)
    while True:
        smaller = _without_some(failure, size, make)
        if smaller is not None:
            failure = smaller
            size = min(size, max(1, len(failure.schedule.actions) // 2))
        elif size == 1:
            return failure
        else:
            size //= 2


def _without_some(failure: Failure, size: int, make: WorkerFactory) -> Failure | None:
    actions = failure.schedule.actions
    for begin in range(0, len(actions), size):
        rest = replace(failure.schedule, actions=actions[:begin] + actions[begin + size :])
        found = failure_of(rest, make)
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
