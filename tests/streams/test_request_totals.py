"""What the ledger says a request did is what its rows say, written out one by one."""

from collections import defaultdict

import numpy as np
from hypothesis import given, settings

from schemas.iterations import IterationFrame, expand
from schemas.packed_iterations import packed
from streams.assembly import assemble
from streams.request_totals import request_totals
from tests.strategies import iteration_frames


def by_hand(frame: IterationFrame, start_ns: int, end_ns: int) -> dict[int, dict[str, int]]:
    """Every row, one at a time."""
    rows = expand(frame)
    totals: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for i, r, new, context, drafts, emitted in zip(
        rows.iteration,
        rows.request,
        rows.new_tokens,
        rows.context_tokens,
        rows.drafts,
        rows.emitted,
        strict=True,
    ):
        begin, end = int(frame.iteration_start_ns[i]), int(frame.iteration_end_ns[i])
        if end <= start_ns or begin >= end_ns:
            continue
        sums = totals[int(frame.request_ordinal[r])]
        sums["seen"] = 1
        if end > end_ns:
            continue
        own = int(new - drafts)
        prefill = own > 1 or context < frame.request_prompt_tokens[r]
        sums["prefill_tokens" if prefill else "decode_tokens"] += own
        sums["draft_tokens"] += int(drafts)
        sums["emitted_tokens"] += int(emitted)
        sums["iterations"] += 1
        sums["context_sum"] += int(context)
    return totals


@settings(max_examples=200)
@given(iteration_frames())
def test_totals_from_runs_equal_the_rows_written_out(frame):
    middle = (frame.start_ns + frame.end_ns) // 2
    for start_ns, end_ns in ((0, 2**62), (frame.start_ns, middle), (middle, frame.end_ns)):
        window = assemble([packed(frame)], start_ns, end_ns)
        totals = request_totals(window, start_ns, end_ns)
        expected = by_hand(frame, start_ns, end_ns)
        ordinals = window.requests.ordinal.tolist()
        assert set(expected) <= set(ordinals)
        for index, ordinal in enumerate(ordinals):
            for name in (
                "prefill_tokens",
                "decode_tokens",
                "draft_tokens",
                "emitted_tokens",
                "iterations",
                "context_sum",
            ):
                assert totals[name][index] == expected[ordinal][name], (name, ordinal)
        here = window.iteration_share[
            np.isin(np.arange(len(window.iteration_share)), window.runs.other_iteration)
        ]
        assert totals["shared_iterations"].sum() <= window.iteration_share.sum() + 1e-9
        assert (here >= 0).all()
