"""Groups that end: their last, shorter window, and the frames that are let go with them."""

from collections.abc import Iterator
from itertools import pairwise

from schemas.energy import EnergyFrame
from schemas.iterations import IterationFrame
from schemas.topics import ENERGY, ITERATIONS
from streams.windows import (
    ClosedWindow,
    Group,
    Held,
    WindowRules,
    begins_ns,
    close_window,
    cut_at_incarnations,
    watermarks,
)

__all__ = ["held_frames", "last_word_ns", "seal_rest"]


def seal_rest(group: Group, rules: WindowRules) -> list[ClosedWindow]:
    """Every batch up to the last word of a group of which nothing more is to come, advancing `group.sealed_ns`.

    The last is as long as its frames go; where one stream ended before another, the rest is a gap. A group that
    does come back goes on from there.
    """
    end_ns = last_word_ns(group)
    start_ns = group.sealed_ns if group.sealed_ns is not None else begins_ns(group)
    if start_ns >= end_ns:
        return []
    grid = range((start_ns // rules.window_ns + 1) * rules.window_ns, end_ns, rules.window_ns)
    closed = []
    for left, right in pairwise(cut_at_incarnations(group, [start_ns, *grid, end_ns])):
        silent = {stream for stream, mark in watermarks(group, left, right).items() if mark < right}
        closed.append(close_window(group, left, right, silent))
    group.sealed_ns = end_ns
    offsets = [held.offset for one in closed for held in one.energy]
    group.last_energy_offset = max([group.last_energy_offset, *offsets])
    return closed


def last_word_ns(group: Group) -> int:
    """End of the last frame held; 0 for none."""
    return max((held.frame.end_ns for _, held in held_frames(group)), default=0)


def held_frames(group: Group) -> Iterator[tuple[str, Held[IterationFrame] | Held[EnergyFrame]]]:
    """Every frame held, with its topic."""
    for frames in group.iterations.values():
        for held in frames:
            yield ITERATIONS, held
    for metered in group.energy:
        yield ENERGY, metered
