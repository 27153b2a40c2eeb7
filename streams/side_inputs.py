"""Versioned facts in force at an instant: which engine, energy model and policy a batch is booked with.

Event time decides: the version whose `effective_from_ns` is the latest not after the instant. Nothing here
knows Kafka; the worker fills it from the compacted topics before the gate opens.
"""

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Final, Generic, Protocol, TypeVar

from schemas.side_inputs import EngineDescriptor, ModelVersion, Policy

__all__ = ["DEFAULT_AMORTISED_OVER", "IdlePolicy", "SideInputs"]

DEFAULT_AMORTISED_OVER: Final = 1000
"""N of the cold-start policy where none is published: a load's energy is shared by its first 1000 requests."""


IDLE: Final = "idle"
"""Name of the idle policy for all engine classes; `idle/<engine class>` is one class's own."""
UNMETERED: Final = "unmetered"
"""Name of the policy for windows without a meter."""
DEFAULT_TRAILING_HOURS: Final = 24.0
"""A day has both the busy and the quiet hours of every tenant."""


@dataclass(frozen=True, slots=True)
class IdlePolicy:
    """Who pays for idle energy."""

    moves: bool
    """`residency`: tenants do, by the engine time they held; else the provider."""
    trailing_hours: float = DEFAULT_TRAILING_HOURS
    """Over so much time, ending with the hour that is shared."""


def _idle_policy(policy: Policy) -> IdlePolicy:
    trailing = policy.values.get("trailing_hours", DEFAULT_TRAILING_HOURS)
    return IdlePolicy(policy.values["policy"] == "residency", float(trailing))


class _Versioned(Protocol):
    @property
    def effective_from_ns(self) -> int: ...


Fact = TypeVar("Fact", bound=_Versioned)


@dataclass(slots=True)
class _History(Generic[Fact]):
    """Versions of one key, ascending; of two with the same effective_from the first published counts."""

    from_ns: list[int] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)

    def add(self, fact: Fact) -> None:
        at = bisect_right(self.from_ns, fact.effective_from_ns)
        if not (at and self.from_ns[at - 1] == fact.effective_from_ns):
            self.from_ns.insert(at, fact.effective_from_ns)
            self.facts.insert(at, fact)

    def at(self, instant_ns: int) -> Fact | None:
        index = bisect_right(self.from_ns, instant_ns)
        return self.facts[index - 1] if index else None


@dataclass(slots=True)
class SideInputs:
    """Every version of every fact, by key."""

    engines: dict[str, _History[EngineDescriptor]] = field(default_factory=dict)
    models: dict[str, _History[ModelVersion]] = field(default_factory=dict)
    policies: dict[str, _History[Policy]] = field(default_factory=dict)
    node_zones: dict[str, tuple[str, str]] = field(default_factory=dict)

    def add_engine(self, descriptor: EngineDescriptor) -> None:
        """Take a descriptor in."""
        self.engines.setdefault(descriptor.engine_id, _History()).add(descriptor)
        self.node_zones[descriptor.node_id] = (descriptor.zone, descriptor.site)

    def add_model(self, version: ModelVersion) -> None:
        """Take an energy model in."""
        self.models.setdefault(version.engine_class, _History()).add(version)

    def add_policy(self, policy: Policy) -> None:
        """Take a policy in."""
        self.policies.setdefault(policy.name, _History()).add(policy)

    def engine(self, engine_id: str, at_ns: int) -> EngineDescriptor | None:
        """The engine's descriptor in force at `at_ns`, or its first: an engine is what it will say it is."""
        history = self.engines.get(engine_id)
        if history is None:
            return None
        return history.at(at_ns) or history.facts[0]

    def model(self, engine_class: str, at_ns: int) -> ModelVersion | None:
        """The energy model in force at `at_ns`; None before the first."""
        history = self.models.get(engine_class)
        return history.at(at_ns) if history else None

    def has_model_from(self, engine_class: str, effective_from_ns: int) -> bool:
        """Whether a model of the class takes effect at exactly this instant."""
        history = self.models.get(engine_class)
        return history is not None and max(effective_from_ns, 1) in history.from_ns

    def amortised_over(self, at_ns: int) -> int:
        """N of the `cold_start` policy in force at `at_ns`."""
        history = self.policies.get("cold_start")
        policy = history.at(at_ns) if history else None
        return int(policy.values["amortise_over"]) if policy else DEFAULT_AMORTISED_OVER

    def idle_policies(self, engine_class: str) -> tuple["IdlePolicy", ...]:
        """Every idle policy that was ever in force for the class; none where nobody published one."""
        names = (f"{IDLE}/{engine_class}", IDLE)
        facts = [fact for name in names if name in self.policies for fact in self.policies[name].facts]
        return tuple(_idle_policy(fact) for fact in facts)

    def idle_policy(self, engine_class: str, at_ns: int) -> "IdlePolicy":
        """The idle policy in force for the class at `at_ns`: its own, else the one for all, else `provider`."""
        for name in (f"{IDLE}/{engine_class}", IDLE):
            history = self.policies.get(name)
            policy = history.at(at_ns) if history else None
            if policy is not None:
                return _idle_policy(policy)
        return IdlePolicy(moves=False)

    def estimates_unmetered(self, at_ns: int) -> bool:
        """Whether windows without a meter are estimated: the policy in force at `at_ns`, else yes."""
        history = self.policies.get(UNMETERED)
        policy = history.at(at_ns) if history else None
        return policy is None or policy.values["policy"] == "estimate"

    def place(self, node_id: str) -> tuple[str, str]:
        """(zone, site) of a node, by any engine on it; empty where none is known."""
        return self.node_zones.get(node_id, ("", ""))
