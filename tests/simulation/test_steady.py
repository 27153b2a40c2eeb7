"""Benchmark frames: steady load as ordered, consistent with the frames' own rules."""

import numpy as np

from producers.simulation.fleet import events
from producers.simulation.steady import steady_fleet
from schemas.energy import EnergyFrame
from schemas.frames import decode_iterations, encode_iterations
from schemas.iterations import IterationFrame, expand


def test_every_engine_runs_the_ordered_rate_and_batch():
    fleet = steady_fleet(3, 10.0, iterations_per_s=50, batch=64)
    found = [event.value for event in events(fleet, 1_700_000_000_000_000_000)]
    frames = [value for value in found if isinstance(value, IterationFrame)]
    assert len(frames) == len([v for v in found if isinstance(v, EnergyFrame)]) == 3 * 20
    assert {len(frame.iteration_start_ns) for frame in frames} == {25}
    for frame in frames:
        rows = expand(decode_iterations(encode_iterations(frame)))
        assert np.all(np.bincount(rows.iteration, minlength=25) == 64)
    assert fleet.request_iterations == 3 * 500 * 64


def test_rows_carry_the_context_that_the_energy_was_computed_from():
    fleet = steady_fleet(1, 12.0)
    schedule = fleet.engines[0].log.schedule
    context = []
    for event in events(fleet, 0):
        if isinstance(event.value, IterationFrame):
            rows = expand(event.value)
            decode = np.ones(len(rows.iteration), np.bool_)
            decode[event.value.exception_row] = False
            context.append(np.bincount(rows.iteration[decode], rows.context_tokens[decode], minlength=25))
    assert np.array_equal(np.concatenate(context), schedule.context_tokens)
