"""Two workers, a broker, a store, and inserts of processes that were taken for dead: one step at a time."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from tests.protocol.log import PARTITIONS, make_log
from tests.protocol.repairs import EARLY, LOGS, causes, repair
from tests.protocol.store import Row, Store, key_of
from tests.protocol.worker import Broker, Insert, Worker, landed

__all__ = [
    "LATE_WEIGHTS",
    "SOUND",
    "WEIGHTS",
    "Action",
    "Kind",
    "Parts",
    "World",
    "act",
    "asked",
    "heal",
    "make_world",
    "repair_all",
]

EVERYTHING = frozenset(range(PARTITIONS))
MOST_REPAIRS = 8
"""Runs of the repair job after which nothing may ask for another."""

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
    "repair",
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
LATE_WEIGHTS: dict[Kind, int] = {**WEIGHTS, "write_off": 4, "land": 10, "repair": 14}
"""Where frames come late there is something to repair, and to cross it with."""


@dataclass(frozen=True, slots=True)
class Action:
    """One step of one of two workers; what it means depends on the state, and it may mean nothing."""

    kind: Kind
    worker: int
    argument: int


@dataclass(frozen=True, slots=True)
class Parts:
    """What a world is made of; a mutant has one part that breaks a rule."""

    worker: Callable[[Broker, Store], Worker] = Worker
    store: Callable[[], Store] = Store
    causes: Callable[[Store], dict[str, frozenset[Row]]] = causes


SOUND = Parts()


@dataclass(slots=True)
class World:
    """The state of everything."""

    broker: Broker
    store: Store
    workers: list[Worker]
    parts: Parts
    adrift: list[Insert] = field(default_factory=list)
    done: set[Row] = field(default_factory=set)
    """Causes of repairs that were dealt with."""


def make_world(log_seed: int, parts: Parts, *, late: bool) -> World:
    """Nothing has happened, and the first worker has every partition."""
    broker, store = Broker(make_log(log_seed, late=late)), parts.store()
    world = World(broker, store, [parts.worker(broker, store), parts.worker(broker, store)], parts)
    world.workers[0].assign(EVERYTHING)
    return world


def act(world: World, action: Action) -> None:
    """Let one action happen."""
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
        case "repair":
            _repair(world, action.argument)
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
                landed(world.store, world.adrift.pop(), manifest=bool(action.argument & 1))


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


def _repair(world: World, argument: int, *, ended: bool = False) -> None:
    """One run of the job for one group; killed with its insert on its way where the argument says so."""
    open_causes = asked(world, ended=ended)
    if not open_causes:
        return
    group, found = sorted(open_causes.items())[argument % len(open_causes)]
    insert = repair(world.store, world.broker.log, group)
    if insert is not None and argument & 16:
        world.adrift.append(insert)
        return
    if insert is not None:
        landed(world.store, insert, manifest=True)
        seen = {key_of(batch) for batch in world.store.batches}
        written = insert.rows.manifest.values()
        if any(key_of(one.batch) not in seen for one in written if one.batch.closed_by != "superseded"):
            return  # another attempt stands where this one should: asked again
    world.done |= found


def asked(world: World, *, ended: bool = False) -> dict[str, frozenset[Row]]:
    """By group: the causes that nobody has dealt with. What crossed at a group's end waits, until it has ended."""
    found = world.parts.causes(world.store)
    left = {group: causes - world.done for group, causes in found.items()}
    if not ended:
        left = {
            group: frozenset(one for one in causes if one[0] in LOGS or one[-1] != EARLY)
            for group, causes in left.items()
        }
    return {group: causes for group, causes in left.items() if causes}


def heal(world: World) -> None:
    """Nothing fails any more: everything is read, written and committed."""
    for insert in world.adrift:
        landed(world.store, insert, manifest=True)
    world.adrift = []
    moved = True
    while moved:
        moved = sum(worker.finish() for worker in world.workers) > 0  # all of them, every time


def repair_all(world: World) -> None:
    """The repair job, until nothing asks for it."""
    for _ in range(MOST_REPAIRS):
        if not asked(world, ended=True):
            return
        _repair(world, 0, ended=True)
    raise AssertionError(f"repairs do not end: {asked(world, ended=True)}")
