"""What goes wrong in one run, drawn from a seed: faults of machines at instants, faults of messages by position."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

__all__ = ["DESTRUCTIVE", "MachineFault", "MessageFault", "Plan", "draw"]

MachineKind = Literal[
    "worker_killed",
    "worker_stopped",
    "worker_stopped_in_insert",
    "worker_joins",
    "worker_leaves",
    "agent_killed",
    "agent_old_spool",
    "spool_overflow",
    "broker_killed",
    "broker_restarted",
    "leaders_moved",
    "database_errors",
    "database_slow",
    "database_cut_before",
    "database_cut_after",
    "database_killed",
]
MessageKind = Literal[
    "repeated",
    "swapped",
    "delayed",
    "bit_flipped",
    "truncated",
    "other_version",
    "clock_ahead",
]
DESTRUCTIVE: Final[tuple[MessageKind, ...]] = ("bit_flipped", "clock_ahead", "other_version", "truncated")
"""What cannot be had back: the frame's own words. Everything else must leave no trace."""

HARMLESS: Final = tuple(kind for kind in get_args(MessageKind) if kind not in DESTRUCTIVE)
MACHINES: Final[dict[MachineKind, int]] = {
    "worker_killed": 5,
    "worker_stopped": 2,
    "worker_stopped_in_insert": 2,
    "worker_joins": 2,
    "worker_leaves": 2,
    "agent_killed": 3,
    "agent_old_spool": 1,
    "broker_killed": 1,
    "broker_restarted": 1,
    "leaders_moved": 2,
    "database_errors": 3,
    "database_slow": 3,
    "database_cut_before": 3,
    "database_cut_after": 3,
    "database_killed": 1,
}
"""How often each is drawn, against the others: a broker takes seconds to return."""
OVERFLOW: Final[MachineKind] = "spool_overflow"
"""Destroys what the full spool gives up: only in runs that destroy frames anyway."""


@dataclass(frozen=True, slots=True)
class MachineFault:
    """Something that happens at an instant of the run."""

    at: float
    """Part of the run's length."""
    kind: MachineKind
    size: float
    """How long or how many, between 0 and 1."""


@dataclass(frozen=True, slots=True)
class MessageFault:
    """Something that happens to one frame on its way."""

    at: float
    """Part of the stream's messages."""
    kind: MessageKind
    size: float


@dataclass(frozen=True, slots=True)
class Plan:
    """All faults of one run."""

    seed: int
    destructive: bool
    machines: tuple[MachineFault, ...]
    messages: tuple[MessageFault, ...]

    @property
    def size(self) -> int:
        """Faults in all."""
        return len(self.machines) + len(self.messages)


def draw(seed: int, *, faults: int = 32, machines: Sequence[MachineKind] = tuple(MACHINES)) -> Plan:
    """A run's faults; every third run also destroys frames."""
    rng = random.Random(seed)
    destructive = rng.random() < 1 / 3
    weights = [MACHINES[kind] for kind in machines]
    of_machines = round(faults * rng.uniform(0.4, 0.6))
    kinds = rng.choices(machines, weights, k=of_machines)
    happening = [MachineFault(rng.uniform(0.05, 1.0), kind, rng.random()) for kind in kinds]
    messages = [
        MessageFault(rng.random(), rng.choice(HARMLESS), rng.random()) for _ in range(faults - of_machines)
    ]
    if destructive:
        destroyed = rng.randrange(1, 4)
        messages[:destroyed] = [
            MessageFault(rng.uniform(0.1, 0.9), rng.choice(DESTRUCTIVE), rng.random())
            for _ in range(destroyed)
        ]
        if rng.random() < 1 / 2:
            happening[0] = MachineFault(rng.uniform(0.1, 0.4), OVERFLOW, rng.random())
    return Plan(seed, destructive, tuple(sorted(happening, key=lambda one: one.at)), tuple(messages))
