"""When each meter is read: so that the instants of a counter's steps are known within a tick, for few wake-ups.

A counter that steps every 100 ms is watched now and then: read on every tick until it changes. The step's instant
is the middle between the reading that saw it and the one before. Between watches the steps come when they are
expected (`producers.agent.steps`): one reading somewhere between two of them tells the energy at the first, so it
is taken when the agent is awake anyway, for all GPUs at once.
"""

import logging
from dataclasses import dataclass, field
from typing import Final

from producers.agent.steps import TICK_NS, Steps
from producers.meters.contract import Clock, Meter, Reading
from schemas.errors import MeterError

__all__ = ["TICK_NS", "Probe", "read_due"]

log: Final = logging.getLogger(__name__)

NEVER_NS: Final = 1 << 62
LOOK_NS: Final = 200_000_000
"""From one step that is told to the next: of steps of 100 ms every second one, between which energy is linear."""
STEPLESS_NS: Final = 400_000_000
"""Between readings of what has no steps: RAPL, integrated power, the parametric host."""
RETRY_NS: Final = 1_000_000_000
SLOWEST_RETRY_NS: Final = 30_000_000_000


@dataclass(slots=True)
class Probe:
    """A meter and what was seen of it."""

    meter: Meter
    steps: Steps = field(default_factory=Steps)
    last: Reading | None = None
    """The latest reading, changed or not."""
    stepless: bool = False
    """An integral, a model or RAPL: another value at every instant, so there are no steps to watch."""
    watching: bool = False
    """Read on every tick until it changes."""
    fresh: list[Reading] = field(default_factory=list)
    """Changes not yet reported."""
    told_ns: int = 0
    """The latest instant that was noted or reported."""
    due_ns: int = NEVER_NS
    """When it must be read, to the tick: the agent wakes up for it."""
    look_ns: int = 0
    """From when on it is read as soon as the agent is awake, and no step is near."""
    failures: int = 0
    error: str = ""

    def visit(self, now_ns: int, *, cutting: bool = False) -> None:
        """Read the meter if it is time, or if a frame is about to be cut and no step is near."""
        watched = self.due_ns < now_ns + TICK_NS // 2
        if not watched:
            if self.look_ns > now_ns and not (cutting and (self.steps.known or self.stepless)):
                return
            if self.steps.known and self.steps.latest_ns(now_ns) is None:
                return
        before, reading = self.last, self._read(now_ns)
        if reading is None:
            return
        self.stepless = reading.meter.source != "counter" or reading.meter.kind != "gpu"
        if self.stepless:
            self.due_ns, self.look_ns = NEVER_NS, reading.time_ns + STEPLESS_NS
            self._note(reading, reading.time_ns)
        elif before is None or new_counter(before, reading):
            self._begin(reading)
        elif watched:
            self._watched(before, reading)
        else:
            self._looked(before, reading)

    def edge(self) -> Reading | None:
        """A reading of now, also if nothing changed; None while the meter cannot be read."""
        before, reading = self.last, self._read(0)
        if reading is None:
            return None
        if not self.stepless and (before is None or new_counter(before, reading)):
            self._begin(reading)
        elif self.told_ns < reading.time_ns:
            self._note(reading, reading.time_ns)
        return reading

    def take(self, upto_ns: int) -> list[Reading]:
        """Changes before the end of a frame; where there were none, the counter as it stands, told once."""
        taken = [reading for reading in self.fresh if reading.time_ns < upto_ns]
        self.fresh = self.fresh[len(taken) :]
        last = self.last
        if not taken and last is not None and not self.failures and self.told_ns < last.time_ns <= upto_ns:
            taken = [last]
            self.told_ns = last.time_ns
        return taken

    def _read(self, now_ns: int) -> Reading | None:
        """The meter's reading; a failure is logged when it begins, and retried more and more slowly."""
        try:
            reading = self.meter.read()
        except MeterError as error:
            if not self.failures:
                log.warning("%s", error)
            self.error = str(error)
            self.due_ns = NEVER_NS
            self.look_ns = now_ns + min(RETRY_NS << min(self.failures, 5), SLOWEST_RETRY_NS)
            self.failures += 1
            self.steps.forget()
            return None
        if self.failures:
            log.info("meter %s is read again", self.meter.meter_id)
            self.failures, self.error = 0, ""
        self.last = reading
        return reading

    def _watched(self, before: Reading, reading: Reading) -> None:
        """One reading on a tick; the first of a watch has nothing to be compared with."""
        if not self.watching or reading.energy_uj == before.energy_uj:
            self.watching, self.due_ns = True, reading.time_ns + TICK_NS
        else:
            self._stepped(before, reading)

    def _looked(self, before: Reading, reading: Reading) -> None:
        """One reading between steps: it shows the energy at the last of them."""
        stepped_ns = self.steps.latest_ns(reading.time_ns)
        if reading.energy_uj != before.energy_uj and stepped_ns is not None and stepped_ns > self.told_ns:
            self._note(reading, stepped_ns)
            self.look_ns = stepped_ns + LOOK_NS

    def _begin(self, reading: Reading) -> None:
        """A counter of which nothing is known: watch it."""
        self.steps.forget()
        self._note(reading, reading.time_ns)
        self.watching, self.due_ns, self.look_ns = True, reading.time_ns + TICK_NS, NEVER_NS

    def _stepped(self, before: Reading, reading: Reading) -> None:
        """A step was seen: when it was, and when to look again."""
        at_ns = (before.time_ns + reading.time_ns) // 2
        self._note(reading, at_ns)
        if reading.time_ns - before.time_ns <= 2 * TICK_NS:
            self.steps.add(at_ns)
        elif not self.steps.known:
            self.steps.forget()  # the agent came late: there may have been two
        if self.steps.known:
            self.watching = False
            self.due_ns, self.look_ns = self.steps.watch_from_ns(reading.time_ns), at_ns + LOOK_NS
        else:
            self.due_ns, self.look_ns = reading.time_ns + TICK_NS, NEVER_NS

    def _note(self, reading: Reading, at_ns: int) -> None:
        self.fresh.append(Reading(reading.meter, at_ns, reading.energy_uj))
        self.told_ns = at_ns


def new_counter(before: Reading, after: Reading) -> bool:
    """Whether the two readings are of different epochs or sources."""
    return after.meter is not before.meter and after.meter != before.meter


def read_due(probes: list[Probe], clock: Clock, *, cutting: bool = False) -> None:
    """Read every meter whose time has come, or comes before the next tick; before a cut, all with no step near."""
    now_ns = clock()
    soon_ns = now_ns + TICK_NS // 2
    for probe in probes:
        # Most have nothing to do at most wake-ups; that costs two comparisons.
        if cutting or probe.due_ns < soon_ns or probe.look_ns <= now_ns:
            probe.visit(now_ns, cutting=cutting)
