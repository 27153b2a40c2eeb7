"""The attribution methods under judgement, by name: a run in, one figure in gCO2e per request out.

A method of one's own is a function `(run, seed) -> (R,) array of gCO2e`, published as an entry point of the
group `wattledger.methods`; its name there is its name here.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Final

import numpy as np
from numpy.typing import NDArray

from evaluation import naive, shapley_methods
from evaluation.coalitions import game_of
from evaluation.fitting import FittedModel
from evaluation.runs import Run
from schemas.errors import ConfigurationError
from streams.attribution import baselines

__all__ = ["ALL", "ENTRY_POINTS", "Method", "MethodSettings", "charge", "parse_methods"]

Floats = NDArray[np.float64]

ENTRY_POINTS: Final = "wattledger.methods"
ALL: Final = (
    "shapley",
    "sampled",
    "truncated:200",
    "leave_one_out",
    "utilisation",
    "token:1,1",
    "token_best",
    "price",
    "request",
    "time",
    "provisioned",
)
"""What `--methods all` means; plugins are added by name."""


@dataclass(frozen=True, slots=True, eq=False)
class Method:
    """One method, ready to run."""

    name: str
    """As on the command line; the column's name in every table."""
    title: str
    """As in the report."""
    attribute: Callable[[Run, int], Floats]
    """(run, seed) → (R,) gCO2e."""


@dataclass(frozen=True, slots=True)
class MethodSettings:
    """What some methods know beforehand about the trace as a whole."""

    fitted: FittedModel
    """The provider's energy model."""
    best_weights: tuple[float, float]
    """(w1, w2) that bring the token-based method closest to the truth on this trace."""
    pool: Executor | None = None
    """Where methods that need simulations run them."""


def charge(method: Method, run: Run, seed: int) -> Floats:
    """(R,) gCO2e by `method`; ConfigurationError if a plugin returns anything else."""
    shares = np.asarray(method.attribute(run, seed), np.float64)
    if shares.shape != (len(run.requests),) or not np.isfinite(shares).all():
        raise ConfigurationError(
            f"method {method.name} returned shape {shares.shape} for {len(run.requests)} requests, or a value "
            "that is not finite; it must return one number in gCO2e per request"
        )
    return shares


def parse_methods(names: Sequence[str], settings: MethodSettings) -> tuple[Method, ...]:
    """Methods by name, with arguments after a colon; ConfigurationError lists what there is."""
    return tuple(_parse(name, settings) for name in names)


def _parse(name: str, settings: MethodSettings) -> Method:
    kind, _, text = name.partition(":")
    found = entry_points(group=ENTRY_POINTS)
    if kind in _BUILT_IN:
        arity, build = _BUILT_IN[kind]
        return build(name, _arguments(name, text, arity), settings)
    if kind in found.names and not text:
        return Method(name, f"{name} (plugin)", found[kind].load())
    known = [*_BUILT_IN, *sorted(found.names)]
    raise ConfigurationError(
        f"method {name!r} is not known; choose among {', '.join(known)}, or publish an entry point of the "
        f"group {ENTRY_POINTS}"
    )


def _arguments(name: str, text: str, arity: tuple[int, ...]) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in text.split(",")) if text else ()
    except ValueError:
        values = (-1.0,)
    if len(values) not in arity or any(not np.isfinite(value) or value < 0 for value in values):
        counts = " or ".join(str(count) for count in arity)
        raise ConfigurationError(
            f"method {name!r}: give {counts} numbers of at least 0 after the colon, such as token:1,4"
        )
    return values


_Arguments = tuple[float, ...]


def _token(name: str, given: _Arguments, settings: MethodSettings) -> Method:
    del settings
    w1, w2 = given or (1.0, 1.0)
    if w1 + w2 == 0:
        raise ConfigurationError(f"method {name!r}: one of the weights must be above 0")
    return Method(name, f"per token, weights {w1:g}:{w2:g}", lambda run, _: naive.per_token(run, w1, w2))


def _token_best(name: str, given: _Arguments, settings: MethodSettings) -> Method:
    del given
    w1, w2 = settings.best_weights
    return Method(
        name, f"per token, best weights {w1:.3g}:{w2:.3g}", lambda run, _: naive.per_token(run, w1, w2)
    )


def _price(name: str, given: _Arguments, settings: MethodSettings) -> Method:
    del settings
    prices = naive.Prices(*given) if given else naive.Prices()
    return Method(
        name,
        f"per price, {prices.input_per_million:g}/{prices.cached_per_million:g}/{prices.output_per_million:g} $",
        lambda run, _: naive.per_price(run, prices),
    )


def _plain(title: str, function: Callable[[Run], Floats]) -> Callable[..., Method]:
    def build(name: str, given: _Arguments, settings: MethodSettings) -> Method:
        del given, settings
        return Method(name, title, lambda run, _: function(run))

    return build


def _leave_one_out(name: str, given: _Arguments, settings: MethodSettings) -> Method:
    del given

    def attribute(run: Run, seed: int) -> Floats:
        del seed
        return baselines.leave_one_out(game_of(run, pool=settings.pool), len(run.requests))

    return Method(name, "leave-one-out", attribute)


def _exact(name: str, given: _Arguments, settings: MethodSettings) -> Method:
    del given
    model = settings.fitted.energy
    return Method(
        name, "Shapley, closed form (ours)", lambda run, seed: shapley_methods.by_model(run, model, seed=seed)
    )


def _sampled(name: str, given: _Arguments, settings: MethodSettings) -> Method:
    model = settings.fitted.energy
    tolerance = given[0] if given else 0.005
    return Method(
        name,
        f"Shapley, sampled to {100 * tolerance:g} % (ours)",
        lambda run, seed: shapley_methods.by_model(
            run, model, method="sampled", rel_tol=tolerance, seed=seed
        ),
    )


def _truncated(name: str, given: _Arguments, settings: MethodSettings) -> Method:
    model = settings.fitted.energy
    permutations = int(given[0]) if given else 200
    tolerance = given[1] if len(given) > 1 else 0.0
    if permutations < 1 or permutations != (given[0] if given else 200) or tolerance >= 1:
        raise ConfigurationError(
            f"method {name!r}: K must be a whole number of at least 1, and the tolerance below 1"
        )
    cut = f", cut at {100 * tolerance:g} %" if tolerance else ""
    return Method(
        name,
        f"truncated Shapley, K = {permutations}{cut}",
        lambda run, seed: shapley_methods.by_model(
            run, model, method="truncated", permutations=permutations, tolerance=tolerance, seed=seed
        ),
    )


_BUILT_IN: Final[dict[str, tuple[tuple[int, ...], Callable[..., Method]]]] = {
    "shapley": ((0,), _exact),
    "sampled": ((0, 1), _sampled),
    "truncated": ((0, 1, 2), _truncated),
    "leave_one_out": ((0,), _leave_one_out),
    "utilisation": ((0,), _plain("per utilisation of each iteration", naive.per_utilisation)),
    "token": ((0, 2), _token),
    "token_best": ((0,), _token_best),
    "price": ((0, 3), _price),
    "request": ((0,), _plain("per request", naive.per_request)),
    "time": ((0,), _plain("per second in the engine", naive.per_time)),
    "provisioned": ((0,), _plain("per provisioned memory × time", naive.per_provision)),
}
