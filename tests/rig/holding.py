"""Frames put into a group as a worker puts them: iterations packed."""

from schemas.energy import EnergyFrame
from schemas.iterations import IterationFrame
from schemas.packed_iterations import PackedIterations, packed
from streams.groups import Group, Held

__all__ = ["hold"]


def hold(
    group: Group, frame: IterationFrame | PackedIterations | EnergyFrame, offset: int, arrival_ns: int
) -> None:
    """Keep the frame, unless one like it is held."""
    if isinstance(frame, IterationFrame):
        frame = packed(frame)
    if isinstance(frame, PackedIterations):
        group.hold_iterations(Held(frame, offset, arrival_ns))
    else:
        group.hold_energy(Held(frame, offset, arrival_ns))
