"""The three estimators of the Shapley value, under the names that people call them by."""

from streams.attribution.exact import exact
from streams.attribution.games import Estimate, SumGame
from streams.attribution.sampled import sample
from streams.attribution.truncated import truncated

__all__ = ["Estimate", "SumGame", "exact", "sample", "truncated"]
