"""Which energy model an epoch of event time is booked with, and how it comes about.

Epoch j is [j·E, (j+1)·E). Its model is fitted on windows that ended before (j−1)·E, one epoch earlier, so that it
can be known before the first batch that needs it. Whoever books that batch first decides; the decision is an
event (`wattledger.models.v1`), the first one counts, and every batch records the version it was split with.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from schemas.side_inputs import EngineDescriptor, ModelVersion
from streams.epoch_fit import FitWindows, usable_fit
from streams.models import model_in_force
from streams.side_inputs import SideInputs

__all__ = ["EpochRules", "FitWindows", "decide", "undecided"]

ReadWindows = Callable[[str, int, int], FitWindows]
"""(engine class, from, to) → its windows in that event time."""


@dataclass(frozen=True, slots=True)
class EpochRules:
    """When models change."""

    epoch_ns: int = 600_000_000_000
    """A regime change is followed within two epochs; shorter epochs have fewer windows to learn from."""
    memory_epochs: int = 6
    """Windows older than this are forgotten."""
    half_life_epochs: float = 2.0
    """A window counts half as much after so many epochs."""

    def epoch(self, at_ns: int) -> int:
        """The epoch that `at_ns` lies in."""
        return at_ns // self.epoch_ns


def undecided(
    engines: Collection[tuple[EngineDescriptor, int]], side: SideInputs, rules: EpochRules
) -> list[tuple[EngineDescriptor, int]]:
    """Of engines and the instants they are booked at: one engine per class and epoch without a decision."""
    open_decisions: dict[tuple[str, int], EngineDescriptor] = {}
    for descriptor, at_ns in engines:
        epoch = rules.epoch(at_ns)
        if not side.has_model_from(descriptor.engine_class, epoch * rules.epoch_ns):
            open_decisions.setdefault((descriptor.engine_class, epoch), descriptor)
    return [
        (descriptor, epoch) for (_, epoch), descriptor in sorted(open_decisions.items(), key=lambda i: i[0])
    ]


def decide(
    descriptor: EngineDescriptor, epoch: int, side: SideInputs, read: ReadWindows, rules: EpochRules
) -> ModelVersion:
    """The model of `epoch` for the engine's class: a fit, or the model in force before it."""
    effective_ns = epoch * rules.epoch_ns
    until_ns = effective_ns - rules.epoch_ns
    windows = read(descriptor.engine_class, until_ns - rules.memory_epochs * rules.epoch_ns, until_ns)
    current = model_in_force(descriptor, side, effective_ns)
    ages = (until_ns - windows.start_ns) / rules.epoch_ns
    fit = usable_fit(descriptor, current.energy, windows, ages, rules.half_life_epochs)
    if fit is None:
        in_force = side.model(descriptor.engine_class, effective_ns)
        return ModelVersion(
            engine_class=descriptor.engine_class,
            version=current.version,
            effective_from_ns=max(effective_ns, 1),
            origin="fit" if current.origin == "fit" else "prior",
            coefficients=current.energy.coefficients(),
            fit_error=current.relative_error,
            covariance=in_force.covariance if in_force else (),
        )
    return ModelVersion(
        engine_class=descriptor.engine_class,
        version=f"fit-{until_ns // 1_000_000_000}-{len(windows.start_ns)}",
        effective_from_ns=effective_ns,
        origin="fit",
        coefficients=fit.model.coefficients(),
        fit_error=fit.held_out_error,
        covariance=fit.covariance,
    )
