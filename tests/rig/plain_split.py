"""A window's rows set out by operations on whole arrays: the plain way, which `streams.split_rows` must repeat."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from streams.assembly import EngineWindow
from streams.attribution import Trace
from streams.runs import Runs

__all__ = ["plain_trace"]


def plain_trace(window: EngineWindow) -> Trace:
    """The window's rows; decode rows whose output was dropped are players of their own, behind the requests."""
    runs, owners = _set_dropped_apart(window)
    single = runs.other_new_tokens == 1
    wide = np.flatnonzero(runs.other_new_tokens > 1)
    wide = wide[np.argsort(runs.other_iteration[wide], kind="stable")]
    adapters = window.requests.adapter.tolist()
    names = {name: index for index, name in enumerate(sorted(set(adapters) - {""}))}
    return Trace.from_runs(
        decode_request=np.concatenate((runs.request, runs.other_request[single])),
        decode_first=np.concatenate((runs.first, runs.other_iteration[single])),
        decode_length=np.concatenate((runs.length, runs.other_new_tokens[single])),
        decode_context=np.concatenate((runs.context, runs.other_context[single])),
        wide_request=runs.other_request[wide],
        wide_iteration=runs.other_iteration[wide],
        wide_tokens=runs.other_new_tokens[wide],
        wide_context=runs.other_context[wide],
        weights=window.iteration_share,
        padded_tokens=window.iteration_padded_tokens.astype(np.int64),
        adapter=np.asarray([names.get(name, -1) for name in adapters], np.int64)[owners],
        prefix_group=window.requests.prefix_group[owners],
    )


def _set_dropped_apart(window: EngineWindow) -> tuple[Runs, NDArray[np.int64]]:
    """The rows with those whose output was dropped renumbered behind the R requests, and whose each number is."""
    runs, count = window.runs, len(window.requests.ordinal)
    decoding = runs.other_context >= window.requests.prompt_tokens[runs.other_request]
    dropped = np.flatnonzero((runs.other_emitted == 0) & (runs.other_new_tokens == 1) & decoding)
    numbers = runs.other_request.copy()
    numbers[dropped] = count + np.arange(len(dropped))
    owners = np.concatenate((np.arange(count), runs.other_request[dropped]))
    return replace(runs, other_request=numbers), owners
