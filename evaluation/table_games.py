"""Ground truth of the per-iteration game: v_t(S) is what the measured tables say of iteration t with only S in it.

The simulator's tables are sums of terms with closed Shapley values: an iteration's fixed part, any function of
the number of decode rows (a table, so the context at which it was measured), what each row pays for itself, and
the two functions of all tokens, knee and experts. With B decode rows, P prefill tokens and Q = B + P:

    v = table(B) + c·(Σ context − B·mean) + below·P + pair·Σ pairs
        + (above − below)·(max(0, Q − knee) − max(0, B − knee)) + W·(miss^B − miss^Q)

Exact; checked against 2^n enumeration of the tables themselves.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from evaluation.runs import Run, Segment
from producers.simulation.engine_types import EngineType
from producers.simulation.schedule import Schedule
from streams.attribution import EnergyModel, SumGame
from streams.attribution.closed_form import closed_form
from streams.attribution.trace import totals

__all__ = [
    "TableGame",
    "energy_game",
    "iteration_shapley",
    "iteration_sum_game",
    "one_iteration_shapley",
    "segment_shapley",
    "table_values",
    "time_game",
]

Floats = NDArray[np.float64]
Int64s = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TableGame:
    """One table's coefficients, in its own unit (joules or seconds)."""

    by_rows: Floats
    """(max_batch + 1,) at the table's mean context, by decode rows from 0."""
    per_context: float
    mean_context: float
    per_token_below: float
    per_token_above: float
    knee_tokens: float
    per_pair: float
    experts: float
    """Reading every expert once."""
    expert_fraction: float


def energy_game(engine: EngineType) -> TableGame:
    """Joules of all GPUs."""
    experts = engine.experts
    watts = engine.prefill_power_w / 1000.0
    return _game(
        engine,
        engine.energy_j,
        engine.context_j_per_token,
        watts,
        0.0 if experts is None else experts.weight_bytes * experts.j_per_byte,
    )


def time_game(engine: EngineType) -> TableGame:
    """Seconds."""
    experts = engine.experts
    return _game(
        engine,
        engine.iteration_ms / 1000.0,
        engine.context_ms_per_token / 1000.0,
        1.0 / 1000.0,
        0.0 if experts is None else experts.weight_bytes / experts.bytes_per_s,
    )


def _game(engine: EngineType, values: Floats, per_context: float, per_ms: float, experts: float) -> TableGame:
    rows = np.arange(engine.max_batch + 1, dtype=np.float64)
    slope = (values[1] - values[0]) / (engine.batches[1] - engine.batches[0])
    below_first = values[0] + slope * (rows - engine.batches[0])
    by_rows = np.where(rows < engine.batches[0], below_first, np.interp(rows, engine.batches, values))
    share = 0.0 if engine.experts is None else engine.experts.active / engine.experts.total
    return TableGame(
        by_rows=by_rows,
        per_context=per_context,
        mean_context=engine.mean_context_tokens,
        per_token_below=engine.prefill_ms_below * per_ms,
        per_token_above=engine.prefill_ms_above * per_ms,
        knee_tokens=float(engine.knee_tokens),
        per_pair=engine.prefill_ms_per_pair * per_ms,
        experts=experts,
        expert_fraction=share,
    )


def iteration_shapley(run: Run) -> Floats:
    """(R,) gCO2e: Σ over iterations of the Shapley value of the iteration's own game; they sum to `total_g`."""
    return np.asarray(sum(segment_shapley(s, run.system.engine) for s in run.segments()), np.float64)


def segment_shapley(segment: Segment, engine: EngineType) -> Floats:
    """(R,) gCO2e of one segment: energy and time are two games, and the Shapley value is linear.

    Times are whole microseconds in the schedule: each iteration's time game is scaled to them.
    """
    energy = _table_shapley(segment, energy_game(engine), segment.per_joule_g)
    clock = time_game(engine)
    modelled = _iteration_values(segment.schedule, clock)
    weights = np.divide(
        segment.per_second_g * segment.seconds, modelled, out=np.zeros_like(modelled), where=modelled > 0
    )
    return energy + _table_shapley(segment, clock, weights)


def iteration_sum_game(segment: Segment, engine: EngineType, iteration: int) -> tuple[SumGame, Int64s]:
    """One iteration's game in gCO2e, for the estimators that see it as a black box, and its (n,) requests."""
    schedule = segment.schedule
    first, end = schedule.piece_first, schedule.piece_first + schedule.piece_length
    here = np.flatnonzero((first <= iteration) & (iteration < end))
    chunk = schedule.piece_prefill[here]
    tokens = schedule.piece_new_tokens[here]
    context = schedule.piece_context[here] + iteration - first[here]
    pairs = np.where(chunk, tokens * context + tokens * (tokens + 1) // 2, 0)
    features = np.column_stack([~chunk, np.where(chunk, 0, context), np.where(chunk, tokens, 0), pairs])
    clock = time_game(engine)
    modelled_s = float(table_values(clock, *(column[None] for column in features.sum(axis=0)))[0])
    scale = float(segment.seconds[iteration]) / modelled_s
    games = (
        (energy_game(engine), float(segment.per_joule_g[iteration])),
        (clock, float(segment.per_second_g[iteration]) * scale),
    )
    present = np.ones((len(here), 1))

    def value(sums: Floats) -> Floats:
        rows, contexts, prefill, pair_sum = np.rint(np.moveaxis(sums[..., 1:], -1, 0)).astype(np.int64)
        grams = np.zeros(rows.shape)
        for game, weight in games:
            grams = grams + weight * table_values(game, rows, contexts, prefill, pair_sum)
        return np.where(sums[..., 0] > 0.5, grams, 0.0)

    return SumGame(np.hstack([present, features]), value), schedule.piece_request[here].astype(np.int64)


def one_iteration_shapley(segment: Segment, engine: EngineType, iteration: int) -> Floats:
    """(R,) gCO2e of a single iteration: the others weigh nothing."""
    only = np.zeros(len(segment.seconds))
    only[iteration] = 1.0
    alone = replace(segment, per_joule_g=segment.per_joule_g * only, per_second_g=segment.per_second_g * only)
    return segment_shapley(alone, engine)


def _iteration_values(schedule: Schedule, game: TableGame) -> Floats:
    """(T,) v(N) of every iteration."""
    return table_values(
        game,
        schedule.decode_rows,
        schedule.context_tokens,
        schedule.prefill_tokens,
        schedule.prefill_pairs,
    )


def table_values(game: TableGame, rows: Int64s, context: Int64s, prefill: Int64s, pairs: Int64s) -> Floats:
    """What the tables say of iterations with these sums, all of one shape."""
    miss = 1.0 - game.expert_fraction
    values = game.by_rows[rows] + game.per_context * (context - rows * game.mean_context)
    values = values + game.per_token_below * prefill + game.per_pair * pairs
    excess = np.maximum(0.0, rows + prefill - game.knee_tokens) - np.maximum(0.0, rows - game.knee_tokens)
    values = values + (game.per_token_above - game.per_token_below) * excess
    return np.asarray(values + game.experts * (miss**rows - miss ** (rows + prefill)), np.float64)


def _table_shapley(segment: Segment, game: TableGame, weights: Floats) -> Floats:
    """(R,) Σ_t weights_t · φ(v_t); the weights are all at least 0 or all at most 0."""
    sign = -1.0 if weights.size and weights.min() < 0 else 1.0
    weighted = sign * weights
    shared = EnergyModel(
        fixed_j=float(game.by_rows[0]),
        excess_token_j=game.per_token_above - game.per_token_below,
        knee_tokens=game.knee_tokens,
        experts_j=game.experts,
        expert_fraction=game.expert_fraction,
    )
    requests = segment.trace.requests
    values = closed_form(segment.trace.reweighted(weighted), shared).request_j
    values = values + _decode_shares(segment.schedule, game, weighted, requests)
    values = values + _chunk_shares(segment.schedule, game, weighted, requests)
    return sign * values


def _decode_shares(schedule: Schedule, game: TableGame, weights: Floats, requests: int) -> Floats:
    """(R,) what depends on the number of decode rows alone, shared equally among them, and their context."""
    rows = np.arange(game.by_rows.size, dtype=np.float64)
    alone = game.by_rows - game.by_rows[0] - game.per_context * game.mean_context * rows
    alone -= (game.per_token_above - game.per_token_below) * np.maximum(0.0, rows - game.knee_tokens)
    alone -= game.experts * (1.0 - (1.0 - game.expert_fraction) ** rows)
    each = alone[schedule.decode_rows] / np.maximum(schedule.decode_rows, 1)
    decode = np.flatnonzero(~schedule.piece_prefill)
    first, length = schedule.piece_first[decode], schedule.piece_length[decode]
    position = np.arange(len(weights))
    constant = _prefix_sums(weights * (each + game.per_context * position))
    slope = _prefix_sums(weights * game.per_context)
    entry = schedule.piece_context[decode] - first
    shares = constant[first + length] - constant[first] + entry * (slope[first + length] - slope[first])
    return totals(schedule.piece_request[decode].astype(np.int64), shares, requests)


def _chunk_shares(schedule: Schedule, game: TableGame, weights: Floats, requests: int) -> Floats:
    """(R,) what each prefill chunk pays for itself: its tokens below the knee, its attention."""
    chunk = np.flatnonzero(schedule.piece_prefill)
    tokens, context = schedule.piece_new_tokens[chunk], schedule.piece_context[chunk]
    pairs = tokens * context + tokens * (tokens + 1) // 2
    shares = weights[schedule.piece_first[chunk]] * (game.per_token_below * tokens + game.per_pair * pairs)
    return totals(schedule.piece_request[chunk].astype(np.int64), shares, requests)


def _prefix_sums(values: Floats) -> Floats:
    return np.concatenate([[0.0], np.cumsum(values)])
