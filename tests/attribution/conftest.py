"""Fresh random games for every run, and the seed to repeat a failure with."""

import os

import numpy as np
import pytest


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator from a fresh seed; pytest shows the seed with a failure, WATTLEDGER_TEST_SEED repeats it."""
    given = os.environ.get("WATTLEDGER_TEST_SEED")
    seed = int(given) if given else int(np.random.SeedSequence().generate_state(1)[0])
    print(f"WATTLEDGER_TEST_SEED={seed}")
    return np.random.default_rng(seed)
