"""A window's rows as the split wants them, and what each iteration holds, in one compiled pass.

The numbers are those of `Trace` and `iteration_sums`, which stay the plain way: sums of whole numbers, exact in
any order.
"""

import numpy as np
from numpy.typing import NDArray

from schemas.compiled import compiled
from streams.assembly import EngineWindow
from streams.attribution.trace import IterationSums, Trace

__all__ = ["rows_and_sums"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def rows_and_sums(window: EngineWindow) -> tuple[Trace, IterationSums]:
    """The window's trace with its sums. Decode rows whose output was dropped stand behind the R requests.

    An engine that schedules ahead runs a request once more after it stopped: such a row is a player of its own,
    of the request's adapter and prefix group.
    """
    runs, requests = window.runs, window.requests
    padded_tokens = window.iteration_padded_tokens.astype(np.int64)
    decode, wide, owners, sums = _rows(
        (runs.request, runs.first, runs.length, runs.context),
        (
            runs.other_request,
            runs.other_iteration,
            runs.other_new_tokens,
            runs.other_context,
            runs.other_emitted,
        ),
        requests.prompt_tokens,
        padded_tokens,
    )
    trace = Trace.from_runs(
        decode_request=decode[0],
        decode_first=decode[1],
        decode_length=decode[2],
        decode_context=decode[3],
        wide_request=wide[0],
        wide_iteration=wide[1],
        wide_tokens=wide[2],
        wide_context=wide[3],
        weights=window.iteration_share,
        padded_tokens=padded_tokens,
        adapter=_numbered(requests.adapter.tolist())[owners],
        prefix_group=requests.prefix_group[owners],
    )
    return trace, IterationSums(*sums)


def _numbered(adapters: list[str]) -> Ints:
    """Each request's adapter, numbered by name; -1 for none."""
    names = sorted(set(adapters) - {""})
    if not names:
        return np.full(len(adapters), -1)
    numbers = {name: index for index, name in enumerate(names)}
    return np.asarray([numbers.get(name, -1) for name in adapters], np.int64)


@compiled
def _sums(decode: Ints, wide: Ints, padded_tokens: Ints) -> Floats:
    """(6, T): what `IterationSums` holds, in its order."""
    iterations = padded_tokens.size
    sums = np.zeros((6, iterations))
    starts, bases = np.zeros(iterations + 1), np.zeros(iterations + 1)
    for d in range(decode.shape[1]):
        begin, end = decode[1, d], decode[1, d] + decode[2, d]
        base = float(decode[3, d] - begin)
        starts[begin] += 1.0
        starts[end] -= 1.0
        bases[begin] += base
        bases[end] -= base
    running = base = 0.0
    for t in range(iterations):
        running += starts[t]
        base += bases[t]
        sums[0, t] = sums[1, t] = sums[2, t] = running
        sums[3, t] = sums[4, t] = base + running * t
    for w in range(wide.shape[1]):
        t, q, c = wide[1, w], float(wide[2, w]), float(wide[3, w])
        sums[1, t] += 1.0
        sums[2, t] += q
        sums[3, t] += c
        sums[4, t] += q * c
    for t in range(iterations):
        if padded_tokens[t] > 0:
            sums[5, t] = max(padded_tokens[t] - sums[2, t], 0.0)
    return sums


@compiled
def _rows(
    runs: tuple[Ints, Ints, Ints, Ints],
    others: tuple[Ints, Ints, Ints, Ints, Ints],
    prompt_tokens: Ints,
    padded_tokens: Ints,
) -> tuple[Ints, Ints, Ints, Floats]:
    """Decode runs (4, D), wide rows by iteration (4, W), whose each number is (R + dropped,), sums (6, T)."""
    request, first, length, context = runs
    other_request, other_iteration, new_tokens, other_context, emitted = others
    size, iterations = prompt_tokens.size, padded_tokens.size
    singles = dropped = widest = 0
    begins = np.zeros(iterations + 1, np.int64)
    for w in range(other_request.size):
        if new_tokens[w] == 1:
            singles += 1
            if emitted[w] == 0 and other_context[w] >= prompt_tokens[other_request[w]]:
                dropped += 1
        elif new_tokens[w] > 1:
            widest += 1
            begins[other_iteration[w] + 1] += 1
    for t in range(iterations):
        begins[t + 1] += begins[t]
    decode, wide = np.empty((4, request.size + singles), np.int64), np.empty((4, widest), np.int64)
    owners = np.empty(size + dropped, np.int64)
    owners[:size] = np.arange(size)
    decode[0, : request.size], decode[1, : request.size] = request, first
    decode[2, : request.size], decode[3, : request.size] = length, context
    filled, set_apart = request.size, size
    for w in range(other_request.size):
        who = other_request[w]
        if new_tokens[w] == 1:
            if emitted[w] == 0 and other_context[w] >= prompt_tokens[who]:
                owners[set_apart] = who
                who = set_apart
                set_apart += 1
            decode[0, filled], decode[1, filled] = who, other_iteration[w]
            decode[2, filled], decode[3, filled] = 1, other_context[w]
            filled += 1
        elif new_tokens[w] > 1:
            place = begins[other_iteration[w]]
            begins[other_iteration[w]] += 1
            wide[0, place], wide[1, place] = who, other_iteration[w]
            wide[2, place], wide[3, place] = new_tokens[w], other_context[w]
    return decode, wide, owners, _sums(decode, wide, padded_tokens)
