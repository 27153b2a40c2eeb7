"""Polling by a counter's own steps: precise instants, few readings."""

from dataclasses import dataclass

import pytest

from producers.agent.sampling import TICK_NS, Probe, read_due
from producers.meters.contract import MeterIdentity, Reading
from schemas.errors import MeterError

MS = 1_000_000
GPU = MeterIdentity("GPU-0", "gpu", "e0", "gpu", "counter")


@dataclass
class SteppingMeter:
    """300 W, seen in steps; fails while `broken`."""

    period_ns: int
    phase_ns: int = 37 * MS
    now_ns: int = 0
    broken: bool = False
    identity: MeterIdentity = GPU
    reads: int = 0

    meter_id = "GPU-0"

    def read(self) -> Reading:
        self.reads += 1
        if self.broken:
            raise MeterError("GPU-0 is gone")
        step = (self.now_ns - self.phase_ns) // self.period_ns
        return Reading(self.identity, self.now_ns, step * self.period_ns * 300 // 1000 + 10**12)


def watch(meter: SteppingMeter, probe: Probe, seconds: float) -> list[Reading]:
    """Let time pass on the agent's grid; returns what was reported, frame by frame."""
    seen = []
    end_ns = meter.now_ns + int(seconds * 1e9)
    while meter.now_ns < end_ns:
        meter.now_ns += TICK_NS
        read_due([probe], lambda: meter.now_ns)
        if meter.now_ns % (500 * MS) == 0:
            seen += probe.take(meter.now_ns)
    return seen


@pytest.mark.parametrize("period_ms", [20, 100, 137])
def test_steps_are_dated_within_a_tick_at_a_few_readings_each(period_ms: int) -> None:
    meter = SteppingMeter(period_ms * MS)
    probe = Probe(meter)
    watch(meter, probe, 2)
    before = meter.reads
    seen = watch(meter, probe, 10)
    assert len(seen) >= 20
    for reading in seen:
        # A step happens where time minus phase is a whole number of periods.
        off = (reading.time_ns - meter.phase_ns) % meter.period_ns
        assert min(off, meter.period_ns - off) <= TICK_NS
    assert (meter.reads - before) / 10 < 45


def test_readings_ascend_and_their_slope_is_the_power() -> None:
    meter = SteppingMeter(100 * MS)
    seen = watch(meter, Probe(meter), 10)
    times = [reading.time_ns for reading in seen]
    assert times == sorted(set(times))
    watts = (seen[-1].energy_uj - seen[1].energy_uj) * 1000 / (seen[-1].time_ns - seen[1].time_ns)
    assert watts == pytest.approx(300, rel=0.01)


def test_a_counter_that_stands_still_is_reported_once_a_frame() -> None:
    meter = SteppingMeter(10**15, phase_ns=0)
    seen = watch(meter, Probe(meter), 5)
    assert 10 <= len(seen) <= 12
    assert len({reading.energy_uj for reading in seen}) == 1


def test_no_reading_is_told_twice_however_soon_the_next_frame_ends() -> None:
    meter = SteppingMeter(100 * MS)
    probe = Probe(meter)
    watch(meter, probe, 1)
    edge = probe.edge()
    assert edge is not None
    assert probe.take(meter.now_ns + 1)[-1] == edge
    assert probe.take(meter.now_ns + 2) == []


def test_a_meter_that_fails_is_asked_ever_more_rarely_and_comes_back() -> None:
    meter = SteppingMeter(100 * MS)
    probe = Probe(meter)
    watch(meter, probe, 1)
    meter.broken = True
    before = meter.reads
    assert watch(meter, probe, 20)[1:] == []
    assert meter.reads - before < 8
    assert "gone" in probe.error
    meter.broken = False
    meter.identity = MeterIdentity("GPU-0", "gpu", "e1", "gpu", "counter")
    assert {reading.meter.epoch for reading in watch(meter, probe, 40)} == {"e1"}


def test_a_step_costs_three_readings_and_is_not_missed_whatever_its_phase() -> None:
    for phase_ms in range(0, 100, 7):
        meter = SteppingMeter(100 * MS, phase_ns=phase_ms * MS)
        probe = Probe(meter)
        watch(meter, probe, 2)
        before = meter.reads
        seen = watch(meter, probe, 10)
        assert 48 <= len(seen) <= 51
        assert (meter.reads - before) / len(seen) <= 3.1
