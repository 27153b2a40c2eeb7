"""One iteration of an energy model as a game, so that the sampling estimators can be run on the same v."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from streams.attribution.energy_model import EnergyModel
from streams.attribution.games import SumGame

__all__ = ["iteration_game", "iteration_seed"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_MASK: Final = 2**64 - 1


def iteration_game(
    model: EnergyModel,
    new_tokens: Ints,
    context_tokens: Ints,
    adapter: Ints,
    prefix_group: Ints,
    padding: float,
) -> SumGame:
    """v(S) of one iteration with n rows; the features are what the model's terms sum, in joules and tokens.

    Groups (adapters, shared prefixes) enter as one indicator column each: a sum above 0 means present. What
    padding costs a coalition that was never measured is unknown; any function of the number present has the
    same Shapley value, so it is charged in proportion.
    """
    n = new_tokens.size
    hinges = model.all_hinges
    q = new_tokens.astype(np.float64)
    linear = model.request_j + model.prefill_token_j * (q - 1.0)
    linear = linear + (model.context_token_j + model.attention_j * q) * context_tokens
    linear = linear + model.padding_token_j * padding / n
    columns: list[Floats] = [np.ones(n), linear, q]
    columns += [hinge.demand(new_tokens, context_tokens) for hinge in hinges]
    adapters = _indicators(adapter) if model.adapter_j > 0 else []
    prefixes = _indicators(prefix_group) if model.prefix_group_j > 0 else []
    group_j = np.array([model.adapter_j] * len(adapters) + [model.prefix_group_j] * len(prefixes))
    first_group = 3 + len(hinges)

    def value(sums: Floats) -> Floats:
        # Half a player: counts are exact, and an empty coalition must cost exactly 0.
        present = sums[..., 0] > 0.5
        energy = model.fixed_j + sums[..., 1]
        if model.experts_j > 0:
            energy = energy + model.experts_j * (1.0 - (1.0 - model.expert_fraction) ** sums[..., 2])
        for i, hinge in enumerate(hinges):
            energy = energy + hinge.weight_j * np.maximum(0.0, sums[..., 3 + i] - hinge.threshold)
        if group_j.size:
            energy = energy + (sums[..., first_group:] > 0.5) @ group_j
        return np.where(present, energy, 0.0)

    return SumGame(np.stack(columns + adapters + prefixes, axis=1), value)


def iteration_seed(seed: int, iteration: int) -> int:
    """A seed for each iteration of a window, by the finaliser of SplitMix64 (Steele, Lea, Flood 2014)."""
    z = (seed + (iteration + 1) * 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


def _indicators(group: Ints) -> list[Floats]:
    return [(group == g).astype(np.float64) for g in np.unique(group[group >= 0])]
