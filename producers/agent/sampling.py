"""When each counter is read: so that the instants of its steps are known within 10 ms, for few readings.

A counter that steps every 100 ms is watched at every second step: left alone until a tick and a half before it,
then read on every tick until it changes. The step's instant is the middle between the reading that saw it and the
one before. What is read between steps says nothing new, and costs the node a wake-up.
"""

import logging
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from producers.meters.contract import Clock, Meter, Reading
from schemas.errors import MeterError

__all__ = ["TICK_NS", "Probe", "read_due"]

log: Final = logging.getLogger(__name__)

TICK_NS: Final = 12_500_000
"""All meters are read on one grid: 80 wake-ups a second at most, however many GPUs there are."""
PERIOD_NS: Final = 100_000_000
"""What NVML's counters show; a counter's own period is learnt from its steps."""
STRIDE: Final = 2
"""Steps from one that is watched to the next: five instants a second at 100 ms, between which energy is linear."""
LEAD_NS: Final = 3 * TICK_NS // 2
"""Before the step that is expected, the counter is watched: the grid may take half a tick of it. At one tick
steps are missed and waited for through a whole period, at two every step costs a reading more."""
SHORTEST_PERIOD_NS: Final = 2 * TICK_NS
LONGEST_PERIOD_NS: Final = 200_000_000
"""A counter that hardly moves is still read within every frame of 0.5 s."""
HOST_PERIOD_NS: Final = 400_000_000
"""Between readings of what has no steps: RAPL, integrated power, the parametric host."""
LESSONS: Final = 4
"""Steps in a row from which a counter's period is learnt."""
RETRY_NS: Final = 1_000_000_000
SLOWEST_RETRY_NS: Final = 30_000_000_000


@dataclass(slots=True)
class Probe:
    """A meter and what was seen of it."""

    meter: Meter
    period_ns: int = PERIOD_NS
    last: Reading | None = None
    """The latest reading, changed or not."""
    stepped_ns: int = 0
    """The latest step that was watched; 0 for none."""
    watching: bool = False
    """Read on every tick until it changes."""
    gaps_ns: deque[int] = field(default_factory=lambda: deque(maxlen=9))
    fresh: list[Reading] = field(default_factory=list)
    """Changes not yet reported."""
    told_ns: int = 0
    """The latest reading that was reported."""
    due_ns: int = 0
    failures: int = 0
    error: str = ""

    def read(self, now_ns: int) -> None:
        """Read the meter once; a failure is logged when it begins, and retried more and more slowly."""
        try:
            reading = self.meter.read()
        except MeterError as error:
            if not self.failures:
                log.warning("%s", error)
            self.error = str(error)
            self.due_ns = now_ns + min(RETRY_NS << min(self.failures, 5), SLOWEST_RETRY_NS)
            self.failures += 1
            return
        if self.failures:
            log.info("meter %s is read again", self.meter.meter_id)
            self.failures, self.error = 0, ""
        before, self.last = self.last, reading
        fresh_counter = before is None or (
            reading.meter is not before.meter and reading.meter != before.meter
        )
        if reading.meter.source != "counter" or reading.meter.kind != "gpu":
            # An integral, a model or RAPL has another value at every instant: there are no steps to watch.
            self.due_ns = reading.time_ns + HOST_PERIOD_NS
            self._note(reading, reading.time_ns)
        elif before is None or fresh_counter:
            self.due_ns = reading.time_ns + TICK_NS
            self._note(reading, reading.time_ns)
            self.stepped_ns, self.watching = 0, True
        elif self.watching and reading.energy_uj != before.energy_uj:
            at_ns = (before.time_ns + reading.time_ns) // 2
            self._note(reading, at_ns)
            self._stepped(at_ns)
        else:
            self.watching = True
            self.due_ns = reading.time_ns + TICK_NS

    def edge(self) -> Reading | None:
        """A reading of now, also if nothing changed; None while the meter cannot be read."""
        self.read(0)
        if self.failures or self.last is None:
            return None
        if not self.fresh or self.fresh[-1].time_ns < self.last.time_ns:
            self.fresh.append(self.last)
        return self.last

    def take(self, upto_ns: int) -> list[Reading]:
        """Changes before the end of a frame; where there were none, the counter as it stands, told once."""
        taken = [reading for reading in self.fresh if reading.time_ns < upto_ns]
        self.fresh = self.fresh[len(taken) :]
        last = self.last
        if not taken and last is not None and not self.failures and self.told_ns < last.time_ns <= upto_ns:
            taken = [last]
        if taken:
            self.told_ns = taken[-1].time_ns
        return taken

    def _note(self, reading: Reading, at_ns: int) -> None:
        self.fresh.append(Reading(reading.meter, at_ns, reading.energy_uj))

    def _stepped(self, at_ns: int) -> None:
        """Learn the period, first from steps in a row, then from every STRIDE-th; choose when to look again."""
        since_ns, self.stepped_ns = at_ns - self.stepped_ns, at_ns
        stride = STRIDE if self.known else 1
        if self.known and abs(since_ns - stride * self.period_ns) > self.period_ns // 2:
            # Not where it was expected: the period has changed, or the power was off. Begin anew.
            self.gaps_ns.clear()
        elif since_ns < at_ns:
            self.gaps_ns.append(since_ns // stride)
            median_ns = sorted(self.gaps_ns)[len(self.gaps_ns) // 2]
            self.period_ns = max(SHORTEST_PERIOD_NS, min(LONGEST_PERIOD_NS, median_ns))
        self.watching = not self.known
        away_ns = STRIDE * self.period_ns - min(LEAD_NS, self.period_ns // 4)
        self.due_ns = at_ns + (away_ns if self.known else 0)

    @property
    def known(self) -> bool:
        """Whether the counter's period has been learnt."""
        return len(self.gaps_ns) >= LESSONS


def read_due(probes: list[Probe], clock: Clock) -> None:
    """Read every meter whose time has come, or comes before the next tick."""
    now_ns = clock()
    for probe in probes:
        if probe.due_ns < now_ns + TICK_NS // 2:
            probe.read(now_ns)
