"""The per-iteration game of a whole run as one game of coalitions: the schedule stays, only who is in it changes.

Its Shapley value is known (`table_games`), and it resembles the counterfactual game v, so sampling only has to
find the Shapley value of the difference v − w, whose marginals vary five to ten times less.
"""

import numpy as np
from numpy.typing import NDArray

from evaluation.runs import Run, Segment
from evaluation.table_games import energy_game, table_values, time_game
from streams.attribution.games import Game

__all__ = ["fixed_schedule_game", "without_fixed_schedule"]

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

_BLOCK_CELLS = 2**22
"""Coalitions × iterations at a time: some 200 MB would be needed for a large group at once."""


def fixed_schedule_game(run: Run) -> Game:
    """w(S) = Σ_t v_t(S), boolean (m, R) → (m,) gCO2e; for small runs, all rows are written out."""
    parts = [_features(segment, len(run.requests)) for segment in run.segments()]
    engine = run.system.engine
    energy, clock = energy_game(engine), time_game(engine)

    def value(members: Bools) -> Floats:
        grams = np.zeros(len(members))
        for segment, (present, decode, context, tokens, pairs) in zip(run.segments(), parts, strict=True):
            step = max(1, _BLOCK_CELLS // max(1, len(segment.seconds)))
            everybody = (decode.sum(0), context.sum(0), tokens.sum(0), pairs.sum(0))
            modelled = table_values(clock, *(np.rint(column).astype(np.int64) for column in everybody))
            per_second = segment.per_second_g * segment.seconds / modelled
            for start in range(0, len(members), step):
                some = members[start : start + step].astype(np.float64)
                here = (some @ present) > 0.5
                sums = [
                    np.rint(some @ column).astype(np.int64) for column in (decode, context, tokens, pairs)
                ]
                joules, seconds = table_values(energy, *sums), table_values(clock, *sums)
                priced = joules * segment.per_joule_g + seconds * per_second
                grams[start : start + step] += np.where(here, priced, 0.0).sum(axis=1)
        return grams

    return value


def without_fixed_schedule(game: Game, run: Run) -> Game:
    """The counterfactual `game` of `run` minus the game of its fixed schedule; 0 for nobody and for everybody."""
    fixed = fixed_schedule_game(run)

    def value(members: Bools) -> Floats:
        return np.asarray(game(members) - fixed(members), np.float64)

    return value


def _features(segment: Segment, requests: int) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """(R, T) each: present, decode rows, their context, chunk tokens, chunk pairs."""
    schedule = segment.schedule
    length = schedule.piece_length
    offset = np.arange(int(length.sum())) - np.repeat(np.cumsum(length) - length, length)
    piece = np.repeat(np.arange(len(length)), length)
    at = (schedule.piece_request[piece], schedule.piece_first[piece] + offset)
    chunk = schedule.piece_prefill[piece]
    context = schedule.piece_context[piece] + offset
    tokens = schedule.piece_new_tokens[piece]
    pairs = tokens * context + tokens * (tokens + 1) // 2
    columns = (
        np.ones(len(piece)),
        ~chunk,
        np.where(chunk, 0, context),
        np.where(chunk, tokens, 0),
        np.where(chunk, pairs, 0),
    )
    tables = []
    for column in columns:
        table = np.zeros((requests, len(segment.seconds)))
        np.add.at(table, at, column)
        tables.append(table)
    return tables[0], tables[1], tables[2], tables[3], tables[4]
