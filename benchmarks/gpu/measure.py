"""One visit to a cell: keep the GPU busy with one iteration, watch the counter, say what an iteration costs.

The energy of an iteration is the mean power between two changes of the counter times the iteration's period, which
comes from the device's own clock. Both are steady while the work is, so neither needs to know where an iteration
begins.
"""

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.gpu.clock import Clock
from benchmarks.gpu.counter import Power, change_times, counter_power
from benchmarks.gpu.nvml import Gpu
from benchmarks.gpu.settings import Settings
from benchmarks.gpu.work import Work
from schemas.errors import MeterError

__all__ = ["Readings", "Visit", "burst_iterations", "iteration_s", "keep_busy", "visit"]

_AHEAD = 2
"""Bursts queued beyond the one that runs."""
_SAMPLE_S = 0.02
"""Between two looks at the instantaneous power, which changes no faster than that."""


@dataclass(frozen=True, slots=True)
class Visit:
    """What one look at a cell found."""

    energy_j: float
    """Of one iteration."""
    half_width_j: float
    """90 %, from the scatter of this window's steps alone."""
    period_s: float
    """Of one iteration."""
    power_w: float
    steps: int
    window_s: float
    iterations: int
    """In the window."""
    temperature_c: float | None
    sm_clock_mhz: float | None
    throttle_reasons: int | None


@dataclass(frozen=True, slots=True)
class Readings:
    """Counter readings while work ran, and the instantaneous power beside them."""

    times_s: list[float]
    millijoules: list[int]
    instants_s: list[float]
    instants_w: list[float]
    first_burst: int
    """The first burst that ended in the window; its end is where the period is counted from."""
    last_burst: int


def visit(work: Work, gpu: Gpu, clock: Clock, settings: Settings, settle_s: float) -> Visit:
    """Run until the energy is known to `settings.target`, at most `max_window_s` after settling.

    MeterError if the counter did not move: it is broken or steps more slowly than any that is known.
    """
    burst = burst_iterations(work, clock, settings)

    def enough(readings: Readings) -> bool:
        seconds = readings.times_s[-1] - readings.times_s[0]
        if seconds >= settings.max_window_s:
            return True
        found = counter_power(change_times(readings.times_s, readings.millijoules))
        return (
            seconds >= settings.min_window_s
            and found is not None
            and found.steps >= settings.min_steps
            and found.half_width_w <= settings.target * found.watts
            and readings.last_burst > readings.first_burst
        )

    readings = keep_busy(work, gpu, clock, burst=burst, settle_s=settle_s, enough=enough)
    # While the work still draws: clocks fall within milliseconds of its end.
    facts = (gpu.temperature_c(), gpu.sm_clock_mhz(), gpu.throttle_reasons())
    work.drain()
    power = power_of(readings, gpu)
    bursts = readings.last_burst - readings.first_burst
    period_s = work.seconds(readings.first_burst, readings.last_burst) / (bursts * burst)
    return Visit(
        energy_j=power.watts * period_s,
        half_width_j=power.half_width_w * period_s,
        period_s=period_s,
        power_w=power.watts,
        steps=power.steps,
        window_s=power.seconds,
        iterations=bursts * burst,
        temperature_c=facts[0],
        sm_clock_mhz=facts[1],
        throttle_reasons=facts[2],
    )


def power_of(readings: Readings, gpu: Gpu) -> Power:
    """Mean power between the counter's changes; MeterError with fewer than three of them."""
    power = counter_power(change_times(readings.times_s, readings.millijoules))
    if power is None:
        seconds = readings.times_s[-1] - readings.times_s[0]
        raise MeterError(
            f"GPU {gpu.uuid}: its energy counter changed fewer than three times in {seconds:.1f} s under load"
        )
    return power


def burst_iterations(work: Work, clock: Clock, settings: Settings) -> int:
    """Iterations that take about `settings.burst_s`; runs a few to see."""
    return max(1, round(settings.burst_s / max(iteration_s(work, clock), 1e-6)))


def iteration_s(work: Work, clock: Clock) -> float:
    """Host seconds of one iteration, after one to warm up."""
    work.submit(1)
    work.drain()
    start = clock.now_s()
    work.submit(2)
    work.drain()
    return (clock.now_s() - start) / 2.0


def keep_busy(
    work: Work,
    gpu: Gpu,
    clock: Clock,
    *,
    burst: int,
    settle_s: float,
    enough: Callable[[Readings], bool],
) -> Readings:
    """Queue bursts and read the counter after `settle_s`, until `enough` says so; bursts may still be queued then.

    `enough` is asked after each change of the counter, and after each sample of the power.
    """
    before = queued = work.finished()
    begin_s = clock.now_s()
    readings = Readings([], [], [], [], -1, -1)
    sampled_s = -1.0
    while True:
        done = work.finished()
        while queued < done + 1 + _AHEAD:
            work.submit(burst)
            queued += 1
        millijoules = gpu.energy_mj()
        now_s = clock.now_s()
        if now_s - begin_s < settle_s or done == before:
            continue
        moved = bool(readings.millijoules) and millijoules != readings.millijoules[-1]
        readings.times_s.append(now_s)
        readings.millijoules.append(millijoules)
        first = readings.first_burst if readings.first_burst >= 0 else done - 1
        readings = Readings(
            readings.times_s, readings.millijoules, readings.instants_s, readings.instants_w, first, done - 1
        )
        sample = now_s - sampled_s >= _SAMPLE_S
        if sample:
            instant_w = gpu.instant_w()
            sampled_s = now_s
            if instant_w is not None:
                readings.instants_s.append(now_s)
                readings.instants_w.append(instant_w)
        if (moved or sample) and readings.last_burst > readings.first_burst and enough(readings):
            return readings
