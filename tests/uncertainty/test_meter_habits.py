"""What a late counter owes is the formula's, to the last bit."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streams.meter_habits import late_share
from tests.builders import SECOND, T0


@given(st.integers(0, 2**32), st.sampled_from([0.02, 0.025, 0.1, 1.0]))
def test_what_is_owed_has_the_bits_of_its_formula(seed: int, average_s: float):
    rng = np.random.default_rng(seed)
    start_ns = T0 + rng.integers(0, 5 * SECOND, rng.integers(0, 300))
    end_ns = start_ns + rng.integers(1000, SECOND // 10, len(start_ns))
    until_ns, average_ns = T0 + 5 * SECOND, average_s * 1e9
    begin, end = (np.clip(average_ns - (until_ns - at_ns), 0.0, average_ns) for at_ns in (start_ns, end_ns))
    expected = (end**2 - begin**2) / (2.0 * average_ns) / (end_ns - start_ns)
    np.testing.assert_array_equal(late_share(start_ns, end_ns, until_ns, average_s), expected)
