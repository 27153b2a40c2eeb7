"""The counterfactual game: v(S) = C(simulate S alone) − C(∅). Requests outside S were never sent.

Players are requests, or groups of requests such as tenants. A coalition costs one simulation; coalitions are
independent of each other, so processes share them, and the result does not depend on how many there are.
"""

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np
from numpy.typing import NDArray

from evaluation.runs import Run, System
from producers.simulation.engine import simulate
from producers.simulation.requests import Requests, take
from producers.simulation.schedule import iteration_energy_j

__all__ = ["CounterfactualGame", "Progress", "coalition_value", "game_of", "no_progress", "workers"]

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Int64s = NDArray[np.int64]

Progress = Callable[[int, int], None]
"""Called with (done, total); it must not raise but to stop the run."""

_US_PER_S = 1e6
_BLOCK = 64
"""Coalitions per task: some 50 ms, so that progress moves and handing over costs little."""


def no_progress(done: int, total: int) -> None:
    """Tells nobody."""


@dataclass(frozen=True, slots=True, eq=False)
class CounterfactualGame:
    """A game of n players, as the Shapley estimators take it: boolean (m, n) → (m,) gCO2e."""

    requests: Requests
    system: System
    player: Int64s
    """(R,) player of each request, 0 to n − 1."""
    players: int
    horizon_us: int
    """End of the run with everybody: under `always_on` the period that every coalition is charged for."""
    pool: Executor | None = None
    progress: Progress = no_progress

    def __call__(self, members: Bools) -> Floats:
        """gCO2e of each coalition beyond the idle engine's; simulations run in `pool`, if there is one."""
        blocks = [members[i : i + _BLOCK] for i in range(0, len(members), _BLOCK)]
        if self.pool is None:
            parts: Iterator[Floats] = (self.block(block) for block in blocks)
        else:
            alone = CounterfactualGame(self.requests, self.system, self.player, self.players, self.horizon_us)
            parts = self.pool.map(alone.block, blocks)
        values = np.zeros(len(members))
        done = 0
        for part in parts:
            values[done : done + len(part)] = part
            done += len(part)
            self.progress(done, len(members))
        return values

    def block(self, members: Bools) -> Floats:
        """(m,) values of a block of coalitions (m, n), one after the other in this process."""
        return np.array([self._value(row) for row in members])

    def _value(self, present: Bools) -> float:
        chosen = np.flatnonzero(present[self.player])
        return coalition_value(take(self.requests, chosen), self.system, self.horizon_us)


def coalition_value(requests: Requests, system: System, horizon_us: int) -> float:
    """C(S) − C(∅) in gCO2e, where S sends `requests`; a run beyond the horizon keeps the engine on for longer."""
    if not len(requests):
        return 0.0
    schedule = simulate(requests, system.engine, mode=system.mode)
    per_joule, per_second = system.carbon.factors(system.engine, schedule.start_us, schedule.end_us)
    seconds = (schedule.end_us - schedule.start_us) / _US_PER_S
    grams = float(iteration_energy_j(schedule, system.engine) @ per_joule + seconds @ per_second)
    beyond = max(horizon_us, int(schedule.end_us[-1]))
    return (
        grams + system.carbon.idle_g(system.engine, beyond) - system.carbon.idle_g(system.engine, horizon_us)
    )


def game_of(
    run: Run,
    *,
    player: Int64s | None = None,
    pool: Executor | None = None,
    progress: Progress = no_progress,
) -> CounterfactualGame:
    """The counterfactual game of a run; its players are the requests unless `player` (R,) groups them."""
    grouped = np.arange(len(run.requests)) if player is None else player
    return CounterfactualGame(
        requests=run.requests,
        system=run.system,
        player=grouped,
        players=int(grouped.max()) + 1,
        horizon_us=run.end_us,
        pool=pool,
        progress=progress,
    )


def _leave_interrupts() -> None:
    """Ctrl-C is the parent's: it stops handing out work, and the pool ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def workers(processes: int) -> Iterator[Executor | None]:
    """A pool of fresh processes; None for one process, which then computes itself.

    Fresh rather than forked: a fork copies locks of threads that numeric libraries hold.
    """
    if processes == 1:
        yield None
        return
    pool = ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_leave_interrupts)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
