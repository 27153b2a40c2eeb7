"""Simulated repairs: the real recomputation over the simulated log and store, and what asks for it."""

from collections.abc import Iterator, Mapping
from itertools import groupby, pairwise
from typing import Any

from schemas.topics import ENERGY, ITERATIONS
from streams.batch import ACCOUNTS, Batch
from streams.pipeline import Work
from streams.repair import SUPERSEDED, rebook, revise
from streams.repair import Sealed as Manifested
from streams.windows import Group
from tests.protocol.identity import by_identity
from tests.protocol.log import HOME, RULES, Log, side_inputs
from tests.protocol.store import SPLIT, Row, Rows, Sealed, Store, key_of, laid_out
from tests.protocol.worker import Insert
from tests.rig.holding import hold

__all__ = ["EARLY", "LOGS", "causes", "crossed", "figures", "repair"]

REASON = "late_frame"
LOGS = frozenset({ITERATIONS, ENERGY})
"""Causes that begin with one of these are late frames."""
EARLY = "early"
"""The last word of causes of which a neighbour is not sealed yet."""
NOTHING = Work((), (), (), (), ())


def causes(store: Store) -> dict[str, frozenset[Row]]:
    """By group: what asks for a repair, as `streams.ledger.causes` finds it."""
    found: dict[str, set[Row]] = {group: set() for group in HOME}
    sealed = store.sealed_until_ns()
    for (table, at), content in store.data.items():
        if table == "late_frames":
            group, _, end_ns = content
            found[group].add(_when(at, end_ns, sealed.get(group, 0)))
    for group, end_ns, cause in crossed(store):
        found[group].add(_when(cause, end_ns, sealed[group]))
    return {group: frozenset(asked) for group, asked in found.items() if asked}


def _when(cause: Row, end_ns: int, sealed_until_ns: int) -> Row:
    """Dealt with before its neighbours are sealed, it is dealt with once more when they are."""
    return cause if end_ns + RULES.window_ns <= sealed_until_ns else (*cause, EARLY)


def crossed(store: Store) -> list[tuple[str, int, Row]]:
    """Revisions written twice, of different frames, and batches that claim the same time: group, end and cause."""
    found: list[tuple[str, int, Row]] = [
        (key[0], end_ns, ("attempts", *key[1:], inputs)) for key, end_ns, inputs in _twice(store)
    ]
    found += [
        (one.group_id, max(one.end_ns, two.end_ns), _overlap(one, two))
        for one, two in _neighbours(store)
        if one.end_ns > two.start_ns
    ]
    return found


def _overlap(one: Batch, two: Batch) -> Row:
    return ("overlap", one.batch_id, two.batch_id, one.revision, two.revision)


def repair(store: Store, log: Log, group_id: str) -> Insert | None:
    """The revisions that all frames known of a group ask for, not yet inserted; None where nothing changes."""
    sealed = sorted(
        (batch for batch in store.batches if batch.group_id == group_id), key=lambda batch: batch.start_ns
    )
    if not sealed:
        return None
    group = _group(store, log, group_id)
    manifested = [_manifested(batch) for batch in sealed]
    batches = rebook(
        group, manifested, side_inputs(), SPLIT, window_ns=RULES.window_ns, begins=True, reason=REASON
    )
    now = {batch.batch_id: _content(batch) for batch in sealed}
    same = {batch.batch_id for batch in batches if now.get(batch.batch_id) == _content(batch)}
    last: dict[str, int] = {}
    for one in store.manifest.values():
        last[one.batch.batch_id] = max(one.batch.revision, last.get(one.batch.batch_id, 0))
    written = revise(batches, manifested, same, last)
    if not written:
        return None
    frames = frozenset(_identities(group))
    rows = Rows(
        {key: content for batch in written for key, content in laid_out(batch).items()},
        {key_of(batch): Sealed(batch, frames) for batch in written},
    )
    return Insert(NOTHING, rows)


def figures(store: Store) -> dict[Row, Any]:
    """What readers can add up, whatever revision it stands in and wherever its frames lay."""
    return {
        (batch.group_id, batch.start_ns, batch.end_ns, batch.batch_id): _content(batch)
        for batch in store.batches
    }


@by_identity
def _content(batch: Batch) -> Mapping[Row, Any]:
    """Its figures and rows, without what names the attempt."""
    name = (batch.metered_uj, *(batch.account_uj(account) for account in ACCOUNTS), batch.gap_causes)
    frames = (batch.iteration_frames, batch.energy_frames)
    return {
        (): (name, frames),
        **{(table, *key[3:]): content for (table, key), content in laid_out(batch).items()},
    }


def _twice(store: Store) -> Iterator[tuple[Row, int, tuple[str, ...]]]:
    """Revisions that were written more than once, of different frames: key, end and what they are made of."""
    for key, rows in groupby(sorted(store.manifest), key=lambda row: row[:4]):
        attempts = list(rows)
        if len(attempts) > 1:
            yield key, store.manifest[attempts[0]].batch.end_ns, tuple(row[4] for row in attempts)


def _neighbours(store: Store) -> Iterator[tuple[Batch, Batch]]:
    batches = sorted(store.batches, key=lambda batch: (batch.group_id, batch.start_ns, batch.end_ns))
    for one, two in pairwise(batches):
        if one.group_id == two.group_id:
            yield one, two


def _manifested(batch: Batch) -> Manifested:
    return Manifested(
        batch_id=batch.batch_id,
        revision=batch.revision,
        group_id=batch.group_id,
        partition=batch.partition,
        start_ns=batch.start_ns,
        end_ns=batch.end_ns,
        gap_causes=batch.gap_causes,
        models=(),
    )


def _group(store: Store, log: Log, group_id: str) -> Group:
    """The group with every frame that a worker sealed with, and those that came late."""
    group = Group(group_id, HOME[group_id])
    for message in (*log.messages[ITERATIONS, group.partition], *log.messages[ENERGY, group.partition]):
        at = (message.topic, message.partition, message.offset)
        frame = log.frames.get(at)
        if frame is None or frame.group_id != group_id or not _known(store, at, group_id):
            continue
        hold(group, frame, message.offset, message.arrival_ns)
    return group


def _known(store: Store, at: Row, group_id: str) -> bool:
    if ("late_frames", at) in store.data:
        return True
    ranges = [
        batch.energy_offsets if at[0] == ENERGY else batch.iteration_offsets
        for batch in (one.batch for one in store.manifest.values())
        if batch.group_id == group_id and not batch.reason and batch.closed_by != SUPERSEDED
    ]
    return any(first <= at[2] <= last for first, last in ranges)


def _identities(group: Group) -> Iterator[Row]:
    for frames in group.iterations.values():
        yield from ((ITERATIONS, held.frame.incarnation, held.frame.sequence) for held in frames)
    yield from ((ENERGY, held.frame.incarnation, held.frame.sequence) for held in group.energy)
