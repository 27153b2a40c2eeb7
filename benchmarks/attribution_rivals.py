"""Estimators by others and by hand, each with the same budget of evaluations on the same game."""

import random
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streams.attribution import SumGame, shapley

__all__ = ["RIVALS"]

Floats = NDArray[np.float64]


def _sampled(game: SumGame, n: int, permutations: int, seed: int) -> Floats:
    return shapley.sample(game, n, max_permutations=permutations, seed=seed).values


def _truncated(game: SumGame, n: int, permutations: int, seed: int) -> Floats:
    return shapley.truncated(game, n, permutations=permutations, seed=seed).values


def _pure_python(game: SumGame, n: int, permutations: int, seed: int) -> Floats:
    """Permutations as a textbook writes them: one coalition at a time, sums in plain floats."""
    rows = [tuple(row) for row in game.features.tolist()]
    draw = random.Random(seed)
    totals = [0.0] * n
    order = list(range(n))
    for _ in range(permutations):
        draw.shuffle(order)
        sums = [0.0] * len(rows[0])
        before = 0.0
        for player in order:
            sums = [a + b for a, b in zip(sums, rows[player], strict=True)]
            after = float(game.value(np.array(sums)))
            totals[player] += after - before
            before = after
    return np.array(totals) / permutations


def _numpy(game: SumGame, n: int, permutations: int, seed: int) -> Floats:
    """Permutations, vectorised in ten lines."""
    orders = np.random.default_rng(seed).permuted(np.tile(np.arange(n), (permutations, 1)), axis=1)
    energy = game.value(np.cumsum(game.features[orders], axis=1))
    marginal = np.empty((permutations, n))
    np.put_along_axis(marginal, orders, np.diff(energy, axis=1, prepend=0.0), axis=1)
    return np.asarray(marginal.mean(axis=0))


def _shapiq(name: str) -> Callable[[SumGame, int, int, int], Floats]:
    def estimate(game: SumGame, n: int, permutations: int, seed: int) -> Floats:
        from shapiq import approximator

        approximation: Any = getattr(approximator, name)(n=n, random_state=seed).approximate(
            permutations * n, lambda coalitions: game(np.atleast_2d(coalitions).astype(bool))
        )
        return np.asarray(approximation.get_n_order_values(1), np.float64)

    return estimate


def _shap_kernel(game: SumGame, n: int, permutations: int, seed: int) -> Floats:
    import shap

    np.random.seed(seed % 2**32)  # noqa: NPY002 - the explainer draws from the global generator
    explainer: Any = shap.KernelExplainer(lambda x: game(x > 0.5), np.zeros((1, n)), silent=True)
    values = explainer.shap_values(np.ones((1, n)), nsamples=permutations * n, l1_reg=False, silent=True)
    return np.asarray(values[0], np.float64)


def _shap_permutation(game: SumGame, n: int, permutations: int, seed: int) -> Floats:
    import shap

    explainer: Any = shap.PermutationExplainer(
        lambda x: game(np.asarray(x) > 0.5), np.zeros((1, n)), seed=seed
    )
    explanation = explainer(np.ones((1, n)), max_evals=permutations * n, silent=True)
    return np.asarray(explanation.values[0], np.float64)


def _quiet(
    estimate: Callable[[SumGame, int, int, int], Floats],
) -> Callable[[SumGame, int, int, int], Floats]:
    def run(game: SumGame, n: int, permutations: int, seed: int) -> Floats:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return estimate(game, n, permutations, seed)

    return run


RIVALS: dict[str, Callable[[SumGame, int, int, int], Floats]] = {
    "wattledger `shapley.sample`": _sampled,
    "wattledger `shapley.truncated` (the published method)": _truncated,
    "permutations, pure Python": _pure_python,
    "permutations, NumPy": _numpy,
    "shapiq PermutationSamplingSV": _quiet(_shapiq("PermutationSamplingSV")),
    "shapiq KernelSHAP": _quiet(_shapiq("KernelSHAP")),
    "shap KernelExplainer": _quiet(_shap_kernel),
    "shap PermutationExplainer": _quiet(_shap_permutation),
}
"""Name → (game, n, permutations, seed) → values; each may ask for permutations · n coalitions."""
