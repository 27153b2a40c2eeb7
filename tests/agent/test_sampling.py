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


def test_a_step_that_is_told_costs_less_than_two_readings_whatever_its_phase() -> None:
    for phase_ms in range(0, 100, 7):
        meter = SteppingMeter(100 * MS, phase_ns=phase_ms * MS)
        probe = Probe(meter)
        watch(meter, probe, 10)
        before = meter.reads
        seen = watch(meter, probe, 10)
        assert 45 <= len(seen) <= 75
        assert (meter.reads - before) / len(seen) < 2


def test_a_counter_that_keeps_its_time_is_watched_more_and_more_seldom() -> None:
    meter = SteppingMeter(100 * MS)
    probe = Probe(meter)
    watches = []
    for _ in range(3):
        before, wakes = probe.due_ns, 0
        for _ in range(100):
            watch(meter, probe, 0.1)
            wakes += probe.due_ns != before
            before = probe.due_ns
        watches.append(wakes)
    assert watches[0] > watches[1]
    assert watches[2] <= 10


def test_steps_are_dated_again_soon_after_a_counter_has_lost_its_time() -> None:
    meter = SteppingMeter(100 * MS)
    probe = Probe(meter)
    watch(meter, probe, 20)
    meter.phase_ns += 45 * MS
    watch(meter, probe, 4)
    for reading in watch(meter, probe, 10):
        off = (reading.time_ns - meter.phase_ns) % meter.period_ns
        assert min(off, meter.period_ns - off) <= TICK_NS


def test_a_counter_of_uneven_steps_is_read_on_and_never_backwards() -> None:
    meter = SteppingMeter(100 * MS)
    probe = Probe(meter)
    seen = []
    for turn in range(200):
        meter.phase_ns = (37 + (turn * 7919) % 31) * MS
        seen += watch(meter, probe, 0.5)
    times = [reading.time_ns for reading in seen]
    energies = [reading.energy_uj for reading in seen]
    assert times == sorted(set(times))
    assert energies == sorted(energies)
    assert len(seen) >= 200


def test_before_a_cut_every_meter_tells_what_it_can() -> None:
    meter = SteppingMeter(100 * MS)
    probe = Probe(meter)
    watch(meter, probe, 20.0625)
    read_due([probe], lambda: meter.now_ns, cutting=True)
    taken = probe.take(meter.now_ns + 1)
    near = (meter.now_ns - meter.phase_ns) % meter.period_ns
    assert taken
    assert near > 20 * MS
    assert meter.now_ns - taken[-1].time_ns <= meter.period_ns


@pytest.mark.parametrize("source", ["integrated", "parametric"])
def test_what_has_no_steps_is_read_now_and_then_and_before_every_cut(source: str) -> None:
    meter = SteppingMeter(1000, identity=MeterIdentity("GPU-0", "gpu", "e0", "gpu", source))
    probe = Probe(meter)
    watch(meter, probe, 2)
    before = meter.reads
    watch(meter, probe, 10)
    assert meter.reads - before <= 26
    meter.now_ns += TICK_NS
    read_due([probe], lambda: meter.now_ns, cutting=True)
    assert probe.take(meter.now_ns + 1)[-1].time_ns == meter.now_ns
