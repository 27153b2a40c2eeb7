"""How long is measured and how surely: every constant of a run, with its reason."""

from dataclasses import dataclass

__all__ = ["Settings"]


@dataclass(frozen=True, slots=True)
class Settings:
    """Seconds unless the name says otherwise. The defaults fit one H100 or H200 into 24 minutes."""

    seed: int = 1
    slice_s: float = 480.0
    """One process; borrowed machines often limit a command to ten minutes."""
    total_s: float = 1440.0
    """All slices together."""
    margin_s: float = 12.0
    """Kept at a slice's end to write the data set."""
    target: float = 0.02
    """Half width of an energy's 90 % interval, relative, at which a window may end."""
    min_steps: int = 3
    """Steps of the counter in a window: fewer show no scatter."""
    min_window_s: float = 0.4
    """Four steps of 100 ms: their ends are known to about a millisecond, a quarter of a per cent."""
    max_window_s: float = 2.0
    """Scatter that has not settled by then is reported as it is."""
    burst_s: float = 0.02
    """Work is queued in bursts of this length, two ahead, so that the GPU never waits for Python."""
    neighbour_settle_s: float = 0.35
    """Before a window whose cell differs from the last one by a single request: their powers are close."""
    shortest_settle_s: float = 0.15
    longest_settle_s: float = 1.2
    """Before any other window: what the counter was seen to need, within these bounds. A trailing mean of one
    second is the slowest known."""
    fact_s: float = 6.0
    """Each stage of the meter's facts."""
    warm_s: float = 30.0
    """At most, at a slice's start: the reference load until the temperature holds still."""
    steady_s: float = 8.0
    """Without a degree of change for so long, the temperature holds still."""
    reference_every: int = 25
    """Cells between two looks at the reference."""
    prior_scatter: float = 0.01
    """Relative scatter between two visits of a cell, until repeated cells have shown it."""
