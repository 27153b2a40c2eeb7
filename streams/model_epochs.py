"""Which energy model a stretch of event time is booked with, and how it comes about.

Time is cut into slots; every slot's model is decided once, by whoever books its first batch, and the decision is
an event (`wattledger.models.v1`): the first one counts, and every batch records the version it was split with.
In a slot that begins an epoch the model is fitted, on windows that ended a full epoch earlier. In every other slot
the model in force stays, unless the last minutes' windows say that the engine has changed: then what came after
the change is fitted at once, and what came before it is forgotten. Windows are read up to one slot before the
slot that they decide, so that they are known before the first batch that needs the decision.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np

from schemas.errors import ConfigurationError
from schemas.side_inputs import EngineDescriptor, ModelVersion
from streams.drift import Change, find_change
from streams.epoch_fit import FitWindows, UsableFit, usable_fit
from streams.models import ModelInForce, model_in_force
from streams.side_inputs import SideInputs

__all__ = ["Decision", "EpochRules", "FitWindows", "decide", "undecided"]

ReadWindows = Callable[[str, int, int], FitWindows]
"""(engine class, from, to) → its windows in that event time."""


@dataclass(frozen=True, slots=True)
class EpochRules:
    """When models change."""

    epoch_ns: int = 600_000_000_000
    """Between fits; shorter epochs have fewer windows to learn from."""
    memory_epochs: int = 6
    """Windows older than this are forgotten."""
    half_life_epochs: float = 2.0
    """A window counts half as much after so many epochs."""
    slot_ns: int = 60_000_000_000
    """Between looks for a change. One is seen once FEWEST_WINDOWS of the class came after it, and takes effect at
    most two slots later: a lone engine's within four minutes, five at the latest."""
    watched_ns: int = 300_000_000_000
    """How far back a change is looked for."""

    @classmethod
    def every(cls, epoch_ns: int) -> "EpochRules":
        """Fits every `epoch_ns`, watched in between where it is whole minutes."""
        minute_ns = 60_000_000_000
        return cls(epoch_ns, slot_ns=minute_ns if epoch_ns % minute_ns == 0 else epoch_ns)

    def __post_init__(self) -> None:
        if self.epoch_ns % self.slot_ns:
            raise ConfigurationError(
                f"epoch {self.epoch_ns / 1e9:g} s is not a multiple of the slot {self.slot_ns / 1e9:g} s"
            )

    def slot(self, at_ns: int) -> int:
        """The slot that `at_ns` lies in."""
        return at_ns // self.slot_ns


@dataclass(frozen=True, slots=True)
class Decision:
    """A slot's model, and the change that called for it, if one did."""

    version: ModelVersion
    change: Change | None = None


def undecided(
    engines: Collection[tuple[EngineDescriptor, int]], side: SideInputs, rules: EpochRules
) -> list[tuple[EngineDescriptor, int]]:
    """Of engines and the instants they are booked at: one engine per class and slot without a decision."""
    open_decisions: dict[tuple[str, int], EngineDescriptor] = {}
    for descriptor, at_ns in engines:
        slot = rules.slot(at_ns)
        if not side.has_model_from(descriptor.engine_class, slot * rules.slot_ns):
            open_decisions.setdefault((descriptor.engine_class, slot), descriptor)
    return [
        (descriptor, slot) for (_, slot), descriptor in sorted(open_decisions.items(), key=lambda i: i[0])
    ]


def decide(
    descriptor: EngineDescriptor, slot: int, side: SideInputs, read: ReadWindows, rules: EpochRules
) -> Decision:
    """The model of `slot` for the engine's class: a fit, or the model in force before it."""
    effective_ns = slot * rules.slot_ns
    current = model_in_force(descriptor, side, effective_ns)
    in_force = side.model(descriptor.engine_class, effective_ns)
    since_ns = in_force.windows_from_ns if in_force else 0
    if effective_ns % rules.epoch_ns == 0:
        until_ns = effective_ns - rules.epoch_ns
        from_ns = max(until_ns - rules.memory_epochs * rules.epoch_ns, since_ns)
        if from_ns < until_ns:
            windows = read(descriptor.engine_class, from_ns, until_ns)
            fit = _fit(descriptor, current, windows, until_ns, rules)
            if fit is not None:
                name = f"fit-{until_ns // 1_000_000_000}-{len(windows.start_ns)}"
                return Decision(_version(descriptor, name, effective_ns, fit, since_ns))
    elif current.origin == "fit":
        until_ns = effective_ns - rules.slot_ns
        windows = read(descriptor.engine_class, max(until_ns - rules.watched_ns, since_ns), until_ns)
        change = find_change(current.energy, windows)
        if change is not None:
            after = _from(windows, change.since_ns)
            fit = _fit(descriptor, current, after, until_ns, rules)
            if fit is not None:
                name = f"drift-{until_ns // 1_000_000_000}-{len(after.start_ns)}"
                version = _version(descriptor, name, effective_ns, fit, change.since_ns)
                return Decision(version, change)
    return Decision(
        ModelVersion(
            engine_class=descriptor.engine_class,
            version=current.version,
            effective_from_ns=max(effective_ns, 1),
            origin="fit" if current.origin == "fit" else "prior",
            coefficients=current.energy.coefficients(),
            fit_error=current.relative_error,
            covariance=in_force.covariance if in_force else (),
            windows_from_ns=since_ns,
        )
    )


def _fit(
    descriptor: EngineDescriptor, current: ModelInForce, windows: FitWindows, until_ns: int, rules: EpochRules
) -> UsableFit | None:
    ages = (until_ns - windows.start_ns) / rules.epoch_ns
    return usable_fit(descriptor, current.energy, windows, ages, rules.half_life_epochs)


def _version(
    descriptor: EngineDescriptor, name: str, effective_ns: int, fit: UsableFit, since_ns: int
) -> ModelVersion:
    return ModelVersion(
        engine_class=descriptor.engine_class,
        version=name,
        effective_from_ns=effective_ns,
        origin="fit",
        coefficients=fit.model.coefficients(),
        fit_error=fit.held_out_error,
        covariance=fit.covariance,
        windows_from_ns=since_ns,
    )


def _from(windows: FitWindows, since_ns: int) -> FitWindows:
    """The windows that began at `since_ns` or later."""
    kept = np.flatnonzero(windows.start_ns >= since_ns).tolist()
    return FitWindows(
        features=[windows.features[i] for i in kept],
        energy_j=windows.energy_j[kept],
        start_ns=windows.start_ns[kept],
        group=tuple(windows.group[i] for i in kept) if windows.group else (),
        owed=tuple(windows.owed[i] for i in kept) if windows.owed else (),
    )
