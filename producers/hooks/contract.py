"""The contract between an engine and the recorder: what one iteration is, whatever engine ran it.

An `EngineHook` taps one engine's scheduler and turns each forward pass into a `Step`. Steps name requests by
the engine's own key (unique while the request lives) and hold counts only: no prompt, output or token id.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from schemas.iterations import NORMAL

__all__ = ["Admission", "EngineFacts", "EngineHook", "Entry", "Step"]


@dataclass(frozen=True, slots=True)
class Admission:
    """What is known of a request when it first runs."""

    client_id: str
    """The id as the client knows it; an attribute, never an identity."""
    tenant: str
    prompt_tokens: int
    cached_tokens: int = 0
    """Prompt tokens found in the prefix cache."""
    adapter: str = ""
    """LoRA adapter; empty for none."""
    prefix_group: int = 0
    """Unsigned 64 bits, equal for requests that share a prompt prefix; 0 for none. Never derivable from
    text.
    """


@dataclass(frozen=True, slots=True)
class Entry:
    """A request that enters the batch other than by going on: for the first time, or after a preemption."""

    context_tokens: int
    """Tokens in its KV cache before this iteration."""
    admission: Admission | None = None
    """Needed where the recorder has not seen this request before."""


@dataclass(frozen=True, slots=True)
class Step:
    """One forward pass. Times are Unix nanoseconds of the recorder's clock."""

    start_ns: int
    end_ns: int
    new_tokens: Mapping[str, int] = field(default_factory=dict)
    """Every request of the pass and the tokens computed for it, ≥ 1; empty for a pass without requests."""
    total_tokens: int = 0
    """Sum of `new_tokens`: where it equals their number, no row needs to be looked at."""
    entered: Mapping[str, Entry] = field(default_factory=dict)
    """Requests of the pass whose context is not the continuation of their last row."""
    finished: Collection[str] = ()
    """Requests that will not run again, this pass included."""
    drafts: Mapping[str, int] = field(default_factory=dict)
    """Speculative tokens among the new ones, where there are any."""
    rejected: Mapping[str, int] = field(default_factory=dict)
    """Of the drafts."""
    emitted: Mapping[str, int] | None = None
    """Tokens delivered per request, absent for none; None where every request got exactly one."""
    kind: int = NORMAL
    padded_tokens: int = 0
    """Tokens after CUDA-graph padding; 0 where the engine does not say."""


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What an engine says of itself when it starts; becomes its `EngineDescriptor`."""

    name: str
    """Unique on the node and the same after a restart."""
    software: str
    """Name and version, such as `vllm 0.32.0`."""
    model: str
    precision: str
    gpu_uuids: tuple[str, ...]
    """Every GPU whose energy is this engine's, over all its ranks on this node; MIG UUIDs where it has
    slices.
    """
    gpu_model: str = ""
    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    data_parallel: int = 1
    weight_bytes: int = 0
    kv_bytes_per_token: int = 0
    experts_total: int = 0
    experts_active: int = 0
    expert_weight_bytes: int = 0


class EngineHook(Protocol):
    """One engine's tap. Installing it must be safe to repeat, and must never raise into the engine."""

    engine: str
    """The engine's name."""
    tested: str
    """The versions it was tested against, and how."""
    cannot_see: str
    """What its rows lack, in a sentence for docs/engines.md."""

    def install(self) -> bool:
        """Tap the engine if it is one that this hook knows; returns whether it did.

        An engine whose version it does not know is refused, with one log line that names the tested range:
        the engine then serves as if there were no hook, and its energy is booked as `unobserved`.
        """
        ...
