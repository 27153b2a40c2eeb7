"""Books sealed time again, with frames that came late: the same core, the models recorded, complete revisions.

Pure. Recomputing from all frames in reach gives what the first booking would have given, had they come in time:
neighbours share every reading at their edge. Where the frames say that other batches should have been there (a
process whose first frame was lost, a group that began earlier), those replace the sealed ones as a whole.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from schemas.side_inputs import ModelVersion
from streams.batch import ACCOUNTS, Batch
from streams.booking import book
from streams.gaps import SILENT_ITERATIONS
from streams.models import model_in_force
from streams.side_inputs import SideInputs
from streams.split import SplitRules
from streams.windows import Group, begins_ns, close_window, cut_at_incarnations, silent_meters

__all__ = ["SUPERSEDED", "Sealed", "rebook", "revise"]

SUPERSEDED = "superseded"
"""`closed_by` of a batch's last revision, where other batches stand for its time."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """A batch's highest revision, as the manifest has it."""

    batch_id: str
    revision: int
    group_id: str
    partition: int
    start_ns: int
    end_ns: int
    gap_causes: tuple[str, ...]
    models: tuple[ModelVersion, ...]
    """The energy models it was split with."""
    method: str = ""
    """How it was split; empty without requests."""


def rebook(
    group: Group,
    sealed: Sequence[Sealed],
    side: SideInputs,
    rules: SplitRules,
    *,
    window_ns: int,
    begins: bool,
    reason: str,
) -> list[Batch]:
    """Book the time of `sealed` from the frames in `group`; revisions are not yet given.

    sealed: neighbours in order of time; of two that claim the same time the longer one's edges hold. group: all
        their frames, and those that came late. begins: the first of `sealed` is the group's first, so that earlier
        frames extend the group's time, on the window grid.
    """
    edges = _edges(sealed)
    if begins and (group.energy or group.iterations) and (first_ns := begins_ns(group)) < edges[0]:
        edges = [first_ns, *range((first_ns // window_ns + 1) * window_ns, edges[0], window_ns), *edges[1:]]
    batches = []
    for left, right in pairwise(cut_at_incarnations(group, edges)):
        before = [one for one in sealed if one.start_ns < right and one.end_ns > left]
        closed = close_window(group, left, right, _still_silent(group, before, right))
        batch = book(closed, _with_models(side, before, left), _as_recorded(before, rules), reason=reason)
        booked_uj = sum(batch.account_uj(account) for account in ACCOUNTS)
        assert booked_uj == batch.metered_uj, f"{batch.batch_id}: {booked_uj} of {batch.metered_uj} µJ booked"
        batches.append(batch)
    return batches


def revise(
    batches: Sequence[Batch],
    sealed: Sequence[Sealed],
    unchanged: Collection[str],
    last_revisions: Mapping[str, int],
) -> list[Batch]:
    """The revisions to write so that `batches` stand for the time of `sealed`.

    unchanged: ids of batches that the ledger holds as they are. last_revisions: the highest revision of every
    id that was ever written, superseded ones included.

    The revisions of a stretch of time add up to more than before, whatever replaces what: readers that keep
    something derived from it (transfers of cold starts) see that it is restated.
    """
    wanted = {batch.batch_id for batch in batches}
    vanished = [one for one in sealed if one.batch_id not in wanted]
    above = 1 + sum(one.revision for one in vanished)
    current = {one.batch_id: one.revision for one in sealed}
    written = []
    for batch in batches:
        if batch.batch_id in current:
            if batch.batch_id not in unchanged:
                written.append(replace(batch, revision=current[batch.batch_id] + 1))
        else:
            written.append(replace(batch, revision=max(above, last_revisions.get(batch.batch_id, -1) + 1)))
    return written + [_superseded(one, (written or batches)[0]) for one in vanished]


def _edges(sealed: Sequence[Sealed]) -> list[int]:
    """Where batches meet; an edge in the middle of another batch is none."""
    found = sorted({edge for one in sealed for edge in (one.start_ns, one.end_ns)})
    return [edge for edge in found if not any(one.start_ns < edge < one.end_ns for one in sealed)]


def _still_silent(group: Group, before: Sequence[Sealed], end_ns: int) -> set[str]:
    """Streams that were silent when the window was sealed, and of which nothing has come since."""
    silent = set(silent_meters(group, end_ns))
    if any(SILENT_ITERATIONS in one.gap_causes for one in before):
        named = {engine for held in group.energy for engine in held.frame.engines}
        for engine in named:
            frames = group.iterations.get(engine, ())
            if max((held.frame.watermark_ns for held in frames), default=0) < end_ns:
                silent.add(engine)
    return silent


def _as_recorded(before: Sequence[Sealed], rules: SplitRules) -> SplitRules:
    """`rules`, or where these batches say that they were split by another method, that: a repair is no restatement
    by today's settings.
    """
    drawn = [
        found for one in before if (found := re.search(r"shapley_(sampled|truncated)_K(\d+)", one.method))
    ]
    if not drawn:
        closed_form = any("shapley_series" in one.method for one in before)
        return replace(rules, method="auto") if closed_form else rules
    method, permutations = drawn[0][1], int(drawn[0][2])
    if rules.method == method and rules.permutations in (None, permutations):
        return rules
    return replace(rules, method=method, permutations=permutations)


def _with_models(side: SideInputs, before: Sequence[Sealed], at_ns: int) -> SideInputs:
    """`side`, with the models that these batches record in force for their classes."""
    models = {version.engine_class: version for one in before for version in one.models}
    pinned = SideInputs(side.engines, dict(side.models), side.policies, side.node_zones)
    for name, version in models.items():
        pinned.models.pop(name, None)
        # A prior follows from the descriptor, its error included; only a fit, or another program's prior, is data.
        if version.version not in _priors(pinned, name, at_ns):
            pinned.add_model(replace(version, effective_from_ns=0))
    return pinned


def _priors(side: SideInputs, engine_class: str, at_ns: int) -> set[str]:
    """Versions of the priors of the class's engines, where `side` has no model of it."""
    found = (side.engine(engine_id, at_ns) for engine_id in side.engines)
    alike = [one for one in found if one is not None and one.engine_class == engine_class]
    return {model_in_force(one, side, at_ns).version for one in alike}


def _superseded(one: Sealed, by: Batch) -> Batch:
    """A batch without energy, rows or readings: its time belongs to others now."""
    return replace(
        by,
        batch_id=one.batch_id,
        revision=one.revision + 1,
        partition=one.partition,
        start_ns=one.start_ns,
        end_ns=one.end_ns,
        meters=(),
        metered_uj=0,
        host_uj=0,
        accounts=(),
        requests=(),
        modelled_uj=0,
        gap_ns=0,
        gap_causes=(),
        busy_ns=0,
        unmetered_ns=0,
        features={},
        closed_by=SUPERSEDED,
        iteration_offsets=(-1, -1),
        energy_offsets=(-1, -1),
        iteration_frames=0,
        energy_frames=0,
    )
