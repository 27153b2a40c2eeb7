"""What engines say they hold, against NVML's list of the processes that compute on each GPU."""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from producers.agent.engines import Engine, alive

__all__ = [
    "CONFIRMED",
    "CONTESTED",
    "CONTRADICTED",
    "SHARED",
    "STATES",
    "UNKNOWN",
    "Claim",
    "ClaimWatch",
    "judge",
]

log: Final = logging.getLogger(__name__)

CONFIRMED: Final = "confirmed"
"""The engine's process, or one below it (a rank's worker), computes there, and no stranger."""
SHARED: Final = "shared"
"""It does, and so does a process of no engine: the engine's requests pay for the stranger's work too."""
CONTRADICTED: Final = "contradicted"
"""Only others compute there: the engine is booked for energy that it does not draw."""
UNKNOWN: Final = "unknown"
"""NVML does not tell, the list is empty (a model may still be loading), or the engine's process lies in another
namespace."""
STATES: Final = (CONFIRMED, SHARED, CONTRADICTED, UNKNOWN)
CONTESTED: Final = (SHARED, CONTRADICTED)
"""States that somebody should look into."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One engine's claim on one GPU."""

    engine_id: str
    gpu_uuid: str
    state: str
    strangers: tuple[int, ...] = ()
    """Processes that compute there and belong to no engine that claims the GPU."""


def judge(engines: Iterable[Engine], processes: Callable[[str], frozenset[int] | None]) -> list[Claim]:
    """Every claim of `engines`; `processes` tells who computes on a GPU, None where nobody knows."""
    by_gpu: dict[str, list[Engine]] = defaultdict(list)
    for engine in engines:
        for uuid in engine.gpu_uuids:
            by_gpu[uuid].append(engine)
    claims = []
    for uuid, claimants in by_gpu.items():
        listed = processes(uuid) or frozenset()
        families = {engine.engine_id: family(engine.pid, listed) for engine in claimants}
        # A process that this namespace does not show may be an engine's own: nothing is said of it.
        visible = {pid for pid in listed if alive(pid)}
        strangers = tuple(sorted(visible - frozenset().union(*families.values())))
        for engine in claimants:
            state = UNKNOWN
            if families[engine.engine_id]:
                state = SHARED if strangers else CONFIRMED
            elif visible and engine.pid > 0:
                state = CONTRADICTED
            claims.append(Claim(engine.engine_id, uuid, state, strangers))
    return claims


@dataclass(slots=True)
class ClaimWatch:
    """Looks at claims again and again; says once what is wrong with one, and when it is not any more."""

    claims: list[Claim] = field(default_factory=list)
    """As they were seen last."""
    _said: dict[tuple[str, str], str] = field(default_factory=dict)
    """Contested claims that were told of, by engine and GPU."""

    def look(self, engines: Iterable[Engine], processes: Callable[[str], frozenset[int] | None]) -> set[str]:
        """Judge every claim; returns the engines whose `contested` is another than before.

        A contest is told of when it is seen twice in a row: a process that comes or goes is none.
        """
        seen = {(one.engine_id, one.gpu_uuid): one.state for one in self.claims}
        self.claims = judge(engines, processes)
        changed = set()
        for one in self.claims:
            key = (one.engine_id, one.gpu_uuid)
            said = self._said.get(key)
            if one.state in CONTESTED and one.state == seen.get(key) and one.state != said:
                self._said[key] = one.state
                log.warning("%s", warning(one))
            elif said is not None and one.state not in CONTESTED:
                del self._said[key]
                log.info("engine %s: its claim on %s is %s now", one.engine_id, one.gpu_uuid, one.state)
            if (said is None) != (key not in self._said):
                changed.add(one.engine_id)
        here = {(one.engine_id, one.gpu_uuid) for one in self.claims}
        self._said = {key: state for key, state in self._said.items() if key in here}
        return changed

    def contested(self, engine_id: str) -> tuple[str, ...]:
        """GPUs of an engine on which others compute than it says; for its descriptor."""
        return tuple(sorted(uuid for engine, uuid in self._said if engine == engine_id))


def warning(claim: Claim) -> str:
    """What is wrong with a contested claim, and what to do."""
    others = ", ".join(map(str, claim.strangers)) or "another engine's"
    if claim.state == SHARED:
        return (
            f"engine {claim.engine_id}: on {claim.gpu_uuid} strangers compute beside it (process {others}); its "
            "requests pay for their work. Move them, or give them a hook"
        )
    return (
        f"engine {claim.engine_id} says that it holds {claim.gpu_uuid}, where only other processes compute "
        f"({others}); its requests pay for their work. Correct WATTLEDGER_GPU_UUIDS of that engine"
    )


def family(pid: int, listed: frozenset[int]) -> frozenset[int]:
    """Of the listed processes: the engine's own and those below it."""
    return frozenset(one for one in listed if pid > 0 and (one == pid or pid in ancestors(one)))


def ancestors(pid: int) -> list[int]:
    """Parents of a process up to the first; empty where it is gone."""
    found: list[int] = []
    while pid > 1 and len(found) < 32:
        try:
            text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            break
        # The name in parentheses may hold anything; what follows the last one is state and parent.
        pid = int(text.rpartition(")")[2].split()[1])
        found.append(pid)
    return found
