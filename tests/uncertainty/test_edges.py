"""A meter's error at a window's edges is the formula's, to the last bit."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from schemas.energy import Meter
from streams.metering import Edge, MeterInterval
from streams.uncertainty.edges import edge_error
from streams.uncertainty.sensors import SENSORS, Sensor


def drawn_interval(rng: np.random.Generator) -> MeterInterval:
    cells = int(rng.integers(1, 200))
    edges_ns = 1_700_000_000_000_000_000 + np.concatenate(([0], np.cumsum(rng.integers(1, 10**9, cells))))
    cell_uj = rng.integers(0, 10**9, cells)
    edge = Edge(0, 0, 0, 0, 0)
    meter = Meter("GPU-0", "gpu", "boot-1", "gpu", "counter")
    return MeterInterval(meter, edge, edge, int(cell_uj.sum()), edges_ns, cell_uj)


def plain_error_uj(interval: MeterInterval, sensor: Sensor) -> float:
    """With 1.3 and 0.6 from simulated engines, as `edges` says."""
    edges_s = (interval.cell_edges_ns - interval.cell_edges_ns[0]) / 1e9
    length_s = np.maximum(np.diff(edges_s), 1e-9)
    power = interval.cell_uj / length_s
    scatter = float(np.sqrt(np.mean(np.diff(power) ** 2) / 2.0)) if len(power) > 1 else 0.0
    step_s = float(np.mean(length_s))
    late_s = max(sensor.average_s, step_s)
    within = scatter * float(np.sqrt(late_s / step_s)) if sensor.average_s > step_s else scatter
    late_uj = abs(float(power[-1] - power[0])) * late_s / 2.0
    shape_uj = within * late_s * float(np.sqrt(2.0 / 12.0))
    part_uj = 0.6 * scatter * float(np.sqrt((length_s**2).sum() * (1.0 - sensor.duty)))
    return float(np.sqrt(1.3**2 * (late_uj**2 + shape_uj**2) + part_uj**2))


@given(st.integers(0, 2**32), st.sampled_from(sorted(SENSORS)))
def test_the_error_has_the_bits_of_its_formula(seed: int, generation: str):
    rng = np.random.default_rng(seed)
    intervals = [drawn_interval(rng) for _ in range(rng.integers(1, 4))]
    sensor = SENSORS[generation]
    total_uj = sum(one.energy_uj for one in intervals)
    expected = sum(plain_error_uj(one, sensor) for one in intervals) / total_uj if total_uj else 0.0
    assert edge_error(intervals, sensor) == expected
