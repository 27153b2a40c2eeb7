"""A compiled sum has the bits of NumPy's."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streams.pairwise import pairwise_sum


@given(st.integers(0, 3000), st.integers(0, 2**32))
def test_the_sum_is_numpys_to_the_last_bit(size: int, seed: int):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=size) * 10.0 ** rng.integers(-8, 8, size)
    assert pairwise_sum(values) == values.sum()
