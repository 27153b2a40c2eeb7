"""What one agent says of itself when it is asked: engines, GPUs and who else computes there, spool."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from producers.agent.claims import Claim
from producers.agent.engines import Engine

__all__ = ["ClaimStatus", "EngineStatus", "MeterStatus", "NodeStatus", "engine_statuses"]


@dataclass(frozen=True, slots=True)
class ClaimStatus:
    """One GPU that an engine says it holds."""

    gpu_uuid: str
    state: str
    """One of `claims.STATES`."""
    strangers: tuple[int, ...]
    """Processes that compute there and belong to no engine."""


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """One engine that has introduced itself."""

    engine_id: str
    group_id: str
    software: str
    pid: int
    connected: bool
    hook_off: str
    """Why its hook records no more; empty while it does."""
    gpus: tuple[ClaimStatus, ...]


@dataclass(frozen=True, slots=True)
class MeterStatus:
    """One GPU of the node."""

    gpu_uuid: str
    error: str
    """Why it cannot be read; empty while it can."""


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """The whole node."""

    node: str
    engines: tuple[EngineStatus, ...]
    meters: tuple[MeterStatus, ...]
    spool_bytes: int
    spool_messages: int
    spool_oldest_s: float
    published_messages: int


def engine_statuses(
    engines: Iterable[Engine], groups: Mapping[str, str], claims: Iterable[Claim]
) -> tuple[EngineStatus, ...]:
    """Every engine with what was last seen of its claims."""
    seen = {(claim.engine_id, claim.gpu_uuid): claim for claim in claims}

    def claim_of(engine: Engine, uuid: str) -> ClaimStatus:
        claim = seen.get((engine.engine_id, uuid))
        return (
            ClaimStatus(uuid, claim.state, claim.strangers)
            if claim is not None
            else ClaimStatus(uuid, "unknown", ())
        )

    return tuple(
        EngineStatus(
            engine_id=engine.engine_id,
            group_id=groups.get(engine.engine_id, ""),
            software=engine.facts.software,
            pid=engine.pid,
            connected=engine.connected,
            hook_off=engine.off,
            gpus=tuple(claim_of(engine, uuid) for uuid in engine.gpu_uuids),
        )
        for engine in engines
    )
