"""The tests bite: each module broken on purpose fails the check that the intact module passes."""

import importlib
import sys
import types

import numpy as np
import pytest

from streams.attribution import SumGame
from tests.attribution.random_games import DENSE, MIXTURE, batch, exact_shares


def broken(monkeypatch, module, whole, part):
    """The module with one line changed, loaded under its own name for the length of the test."""
    intact = importlib.import_module(module)
    source = intact.__loader__.get_source(module)
    assert source.count(whole) == 1, f"{module} has changed: find the line that {whole!r} was"
    mutant = types.ModuleType(module)
    monkeypatch.setitem(sys.modules, module, mutant)
    exec(compile(source.replace(whole, part), f"<broken {module}>", "exec"), mutant.__dict__)
    return mutant


def worst_share_error(closed_form):
    rng = np.random.default_rng(7)
    worst = 0.0
    for model in (DENSE, MIXTURE):
        for _ in range(10):
            rows = batch(rng, 8, wide=0.4)
            found = closed_form(rows.trace(), model).request_j
            worst = max(worst, float(np.abs(found / exact_shares(model, rows) - 1).max()))
    return worst


CLOSED_FORM = "streams.attribution.closed_form"


def test_the_intact_closed_form_passes():
    assert worst_share_error(importlib.import_module(CLOSED_FORM).closed_form) < 1e-9


@pytest.mark.parametrize(
    ("whole", "part"),
    [
        ("head = (model.fixed_j +", "head = (0.5 * model.fixed_j +"),
        ("model.prefill_token_j * (q - 1)", "model.prefill_token_j * q"),
        ("model.context_token_j + model.attention_j)", "model.context_token_j)"),
        ("constant += model.experts_j * per_decode", "constant += model.experts_j / n"),
        ("wide += hinge.weight_j * shares.wide", "wide += 0.0 * shares.wide"),
    ],
    ids=["half the fixed share", "a token twice", "no attention", "experts per head", "no knee"],
)  # fmt: skip
def test_a_broken_closed_form_fails(monkeypatch, whole, part):
    assert worst_share_error(broken(monkeypatch, CLOSED_FORM, whole, part).closed_form) > 1e-3


def pairwise_error(sample):
    n = 24
    weight = np.triu(np.random.default_rng(3).normal(size=(n, n)), 1)
    exact = (weight.sum(axis=0) + weight.sum(axis=1)) / 2

    def v(coalitions):
        s = coalitions.astype(float)
        return np.einsum("ki,ij,kj->k", s, weight, s)

    return float(np.abs(sample(v, n, max_permutations=200, seed=1).values - exact).max())


SAMPLED = "streams.attribution.sampled"
REVERSED = "return np.concatenate([orders, orders[:, ::-1]])"


def test_without_the_reversed_permutation_pairwise_games_are_no_longer_exact(monkeypatch):
    assert pairwise_error(importlib.import_module(SAMPLED).sample) < 1e-10
    assert (
        pairwise_error(broken(monkeypatch, SAMPLED, REVERSED, REVERSED.replace("::-1", "::1")).sample) > 1e-3
    )


def rough_bias(sample):
    """Largest bias over standard error of 400 short runs of a game that no surrogate fits."""
    n = 6
    table = np.random.default_rng(5).random(2**n)
    table[0] = 0.0
    exact = sample(lambda s: table[s @ (1 << np.arange(n))], n, seed=0).values

    def v(coalitions):
        return table[coalitions @ (1 << np.arange(n))]

    runs = np.array([sample(v, n, max_permutations=6, seed=seed).values for seed in range(400)])
    return float((np.abs(runs.mean(axis=0) - exact) / (runs.std(axis=0, ddof=1) / 20)).max())


@pytest.mark.parametrize(
    ("whole", "part"),
    [
        ("plan.usual * (outer - 2.0 / game.n)", "plan.usual * outer"),
        ("[:, 1:-1] = np.diff(residual, axis=1)[:, :-1]", "[:, 1:-2] = np.diff(residual, axis=1)[:, :-2]"),
        ("return surrogate.values() +", "return 0.5 * surrogate.values() +"),
    ],
    ids=["outer positions counted twice", "permutations truncated", "half of the surrogate"],
)  # fmt: skip
def test_a_biased_sampler_fails(monkeypatch, whole, part):
    assert rough_bias(importlib.import_module(SAMPLED).sample) < 6
    assert rough_bias(broken(monkeypatch, SAMPLED, whole, part).sample) > 6


def test_a_cut_off_that_is_always_on_loses_energy(monkeypatch):
    game = SumGame(np.ones((32, 1)), lambda s: np.where(s[..., 0] > 0, 3.0 + 0.001 * s[..., 0], 0.0))
    module = "streams.attribution.truncated"
    cut = broken(monkeypatch, module, "tolerance: float = 0.0", "tolerance: float = 0.01")
    lost = [
        3.032 - shapley.truncated(game, 32, seed=1).values.sum()
        for shapley in (importlib.import_module("streams.attribution.shapley"), cut)
    ]
    assert lost[0] == pytest.approx(0.0, abs=1e-12)
    assert lost[1] > 1e-3


def test_a_certificate_that_forgets_one_side_is_caught(monkeypatch):
    module = "streams.attribution.certificates"
    line = "inactive = above + positive[:, None] <= 0.0"
    careless = broken(monkeypatch, module, line, line.replace("positive[:, None]", "0.0 * positive[:, None]"))
    # Two players of 3 beside one of 1: only both together cross 5.
    crossing = np.array([[1.0]]), np.array([6.0]), np.array([0.0]), 5.0
    intact = importlib.import_module("streams.attribution.hinges").certify
    assert not intact(*crossing)[0][0]
    assert careless.certify(*crossing)[0][0]
