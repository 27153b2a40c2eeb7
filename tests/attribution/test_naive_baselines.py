"""The methods in use elsewhere, each with a batch that shows the axioms it is said to break."""

import numpy as np
import pytest

from schemas.errors import AttributionError
from streams.attribution import shapley
from streams.attribution.baselines import (
    BREAKS,
    leave_one_out,
    per_request,
    per_token,
    provisioned,
    time_share,
)


def fixed(s):
    """Ten joules as soon as anybody is in: all players are symmetric."""
    return 10.0 * s.any(axis=1)


def only_first(s):
    """Only player 0 costs anything: the others are null players."""
    return 10.0 * s[:, 0]


def by_weight(v, n, method):
    whole = float(v(np.ones((1, n), bool))[0])
    weights = np.arange(1.0, n + 1)
    return {
        "per_token": lambda: per_token(whole, weights, weights),
        "per_request": lambda: per_request(whole, n),
        "provisioned": lambda: provisioned(whole, weights),
        "time_share": lambda: time_share(whole, weights),
        "leave_one_out": lambda: leave_one_out(v, n),
        "leave_one_out_scaled": lambda: leave_one_out(v, n, scaled=True),
        "shapley": lambda: shapley.exact(v, n),
    }[method]()


def concave(s):
    return np.sqrt(s @ np.array([1.0, 4.0, 9.0]))


def additive(s):
    return s @ np.array([5.0, 2.0, 1.0])


def broken(method):
    """Axioms that one of the games above shows the method to break."""
    found = set()
    games = (only_first, concave, additive) if "leave_one_out" in method else (fixed, only_first, additive)
    for v in (*games, lambda s: concave(s) + additive(s)):
        shares = by_weight(v, 3, method)
        if abs(shares.sum() - float(v(np.ones((1, 3), bool))[0])) > 1e-9:
            found.add("efficiency")
    if "leave_one_out" not in method and np.ptp(by_weight(fixed, 3, method)) > 1e-9:
        found.add("symmetry")
    if np.abs(by_weight(only_first, 3, method)[1:]).max() > 1e-9:
        found.add("null player")
    together = by_weight(lambda s: concave(s) + additive(s), 3, method)
    apart = by_weight(concave, 3, method) + by_weight(additive, 3, method)
    if np.abs(together - apart).max() > 1e-9:
        found.add("additivity")
    return found


@pytest.mark.parametrize("method", BREAKS)
def test_a_method_breaks_the_axioms_it_is_said_to_and_keeps_the_others(method):
    assert broken(method) == set(BREAKS[method])


def test_the_shapley_value_breaks_none():
    assert broken("shapley") == set()


def test_leave_one_out_leaves_the_fixed_energy_with_nobody():
    np.testing.assert_array_equal(leave_one_out(fixed, 3), [0.0, 0.0, 0.0])
    with pytest.raises(AttributionError, match="savings sum to 0"):
        leave_one_out(fixed, 3, scaled=True)


def test_tokens_are_weighed_as_asked():
    np.testing.assert_allclose(per_token(30.0, [10, 0], [0, 10], w1=1, w2=2), [10, 20])


@pytest.mark.parametrize("weights", [[], [0.0, 0.0], [float("nan")]])
def test_nothing_to_split_by_is_an_error(weights):
    with pytest.raises(AttributionError, match="nothing to split by"):
        provisioned(1.0, weights)
