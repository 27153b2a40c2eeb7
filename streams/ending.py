"""Groups that end: their last, shorter window, and the frames that are let go with them."""

from itertools import pairwise

from streams.windows import (
    ClosedWindow,
    Group,
    WindowRules,
    begins_ns,
    close_window,
    cut_at_incarnations,
    marks_of,
)

__all__ = ["last_word_ns", "seal_rest"]


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
        silent = {stream for stream, mark in marks_of(group, left, right).items() if mark.until_ns < right}
        closed.append(close_window(group, left, right, silent))
    group.sealed_ns = end_ns
    offsets = [held.offset for one in closed for held in one.energy]
    group.last_energy_offset = max([group.last_energy_offset, *offsets])
    return closed


def last_word_ns(group: Group) -> int:
    """End of the last frame held; 0 for none."""
    ends_ns = [held.frame.end_ns for held in group.energy]
    ends_ns += [held.frame.end_ns for frames in group.iterations.values() for held in frames]
    return max(ends_ns, default=0)
