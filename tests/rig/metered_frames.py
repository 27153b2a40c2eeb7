"""A node's energy frames with whatever befalls counters: none read, new epochs, a clock set back."""

from dataclasses import replace

import numpy as np
from hypothesis import strategies as st

from schemas.energy import EnergyFrame, Meter
from tests.builders import SECOND, T0, energy_frame


@st.composite
def metered_frames(draw: st.DrawFn) -> list[EnergyFrame]:
    """Up to a dozen frames of half a second with three meters, from T0 on, in order of their numbers."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    epochs = ["boot-1"] * 3
    values_uj = rng.integers(0, 2**60, 3)
    found = []
    for number in range(rng.integers(0, 12)):
        if rng.random() < 0.1:
            epochs[rng.integers(3)] = f"boot-{number + 2}"
        start_ns = T0 + (number - 3 * int(rng.random() < 0.1)) * SECOND // 2
        meter = np.sort(rng.integers(0, 3, rng.integers(0, 12)))
        times_ns = start_ns + np.sort(rng.choice(SECOND // 2, len(meter), replace=False))
        rises_uj = rng.integers(0, 10**8, len(meter))
        energy_uj = [
            values_uj[own] + rises_uj[: i + 1][meter[: i + 1] == own].sum() for i, own in enumerate(meter)
        ]
        values_uj += np.bincount(meter, rises_uj, 3).astype(np.int64)
        order = np.argsort(times_ns) if rng.random() < 0.5 else np.arange(len(meter))
        found.append(
            replace(
                energy_frame(number / 2, (number + 1) / 2, sequence=number),
                meters=tuple(
                    Meter(f"GPU-{i}", "gpu", epoch, "gpu", "counter") for i, epoch in enumerate(epochs)
                ),
                reading_meter=meter[order].astype(np.int32),
                reading_time_ns=times_ns[order],
                reading_uj=np.asarray(energy_uj, np.int64)[order],
            )
        )
    return found
