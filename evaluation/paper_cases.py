"""The cases that Li et al. work out by hand, computed: leave-one-out is not efficient, token shares are not linear.

The paper prints results; the set-up of its token example is not public. Of a client with T_a tokens in each of
two periods it says 7·T_a by linearity and 8.5·T_a by proportionality. With carbon per token r1 and r2 in periods
of T1 and T2 tokens, r1 + r2 = 7 and 2·(r1·T1 + r2·T2)/(T1 + T2) = 8.5. Of the whole rates that allow it, 2 and 5
need the simplest sizes, T2 = 3·T1 (1 and 6 need 13:7, 0 and 7 need 17:11): that is the set-up here.
"""

from dataclasses import dataclass

import numpy as np

from evaluation.counterfactual import lookup
from streams.attribution import baselines, shapley

__all__ = ["LeaveOneOutCase", "TokenCase", "leave_one_out_case", "token_case"]


@dataclass(frozen=True, slots=True)
class LeaveOneOutCase:
    """Two users on an engine that emits 30 idle, 40 with either of them and 42 with both."""

    charges: tuple[float, float]
    """Leave-one-out: C(N) − C(N without i)."""
    provider: float
    """What leave-one-out leaves with the provider."""
    shapley: tuple[float, float]
    """Shapley values of C(S) − C(∅)."""
    idle: float
    """C(∅), the provider's under Shapley."""


@dataclass(frozen=True, slots=True)
class TokenCase:
    """A client's charge over two periods, in units of its T_a tokens per period."""

    by_linearity: float
    """Each period attributed alone, then added."""
    by_proportionality: float
    """Both periods attributed as one."""


def leave_one_out_case() -> LeaveOneOutCase:
    """C(∅) = 30, C({i}) = 40, C({1,2}) = 42."""
    carbon = np.array([30.0, 40.0, 40.0, 42.0])  # ∅, {1}, {2}, {1,2}
    game = lookup(carbon - carbon[0], 2)
    one, two = baselines.leave_one_out(game, 2).tolist()
    charges = (float(one), float(two))
    first, second = shapley.exact(game, 2).tolist()
    return LeaveOneOutCase(charges, float(carbon[3]) - sum(charges), (first, second), float(carbon[0]))


def token_case(tokens_a: float = 1.0) -> TokenCase:
    """Rates 2 and 5 per token; client a sends T_a tokens in both periods, client b T_a and 5·T_a."""
    rates = np.array([2.0, 5.0])
    tokens = np.array([[tokens_a, tokens_a], [tokens_a, 5.0 * tokens_a]])  # [period, client]
    carbon = rates * tokens.sum(axis=1)
    no_output = np.zeros(2)
    alone = [baselines.per_token(float(c), load, no_output) for c, load in zip(carbon, tokens, strict=True)]
    together = baselines.per_token(float(carbon.sum()), tokens.sum(axis=0), no_output)
    return TokenCase(float(alone[0][0] + alone[1][0]) / tokens_a, float(together[0]) / tokens_a)
