"""Repairs what came late: reads the frames of sealed batches again and writes the next complete revisions.

A function of the ledger and the topics: it keeps no state, may run at any time, twice, or twice at once, and ends
with the same rows. A cause that was dealt with is remembered in `repairs`, after the revisions are durable.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from schemas.errors import InvalidMessage
from schemas.frames import decode_energy, decode_packed
from schemas.topics import ENERGY, ITERATIONS
from streams.batch import Batch
from streams.ledger.causes import Cause, repair_table
from streams.ledger.content import Content, content_of, read_contents
from streams.ledger.model_rows import model_table
from streams.ledger.repairs import (
    Position,
    Stretch,
    frame_positions,
    last_revisions,
    read_stretch,
)
from streams.ledger.rows import batch_table, ledger_table, meter_table
from streams.ledger.sink import Sink
from streams.ledger.tables import arrow_schema
from streams.messages import Message, must_be_of_node, must_match_key
from streams.repair import SUPERSEDED, Sealed, rebook, revise
from streams.side_inputs import SideInputs
from streams.split import SplitRules
from streams.windows import Group, Held, WindowRules

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["BEYOND_RETENTION", "OVERTAKEN", "REVISED", "UNCHANGED", "Repaired", "Repairs", "repair"]

REVISED: Final = "revised"
UNCHANGED: Final = "unchanged"
BEYOND_RETENTION: Final = "beyond_retention"
OVERTAKEN: Final = "overtaken"
"""Another attempt stands where this one should: its causes stay open, and the next run starts from there."""
MOST_BATCHES: Final = 60
"""Batches recomputed at once: five minutes of iterations of one group in memory."""

ReadLog = Callable[[Iterable[Position], bytes], list[Message] | None]
"""Messages with a key at stated positions; None if not all are retained."""


@dataclass(frozen=True, slots=True)
class Repairs:
    """What a repair needs."""

    client: "Client"
    sink: Sink
    read: ReadLog
    side: SideInputs
    windows: WindowRules
    split: SplitRules


@dataclass(frozen=True, slots=True)
class Repaired:
    """One stretch of one group's time, dealt with."""

    group_id: str
    from_ns: int
    to_ns: int
    causes: tuple[Cause, ...]
    outcome: str
    batches: tuple[Batch, ...]
    """Revisions written, superseded batches included."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """Neighbouring batches, dealt with."""

    written: list[Batch]
    stands: bool
    """Whether readers now see what was computed: another's insert may have come between."""


def repair(needs: Repairs, causes: Sequence[Cause], *, write: bool = True) -> Iterator[Repaired]:
    """Deal with `causes` (by group and time), one stretch of time after another; `write=False` only says what.

    Identical content writes nothing. A stretch of which a frame is no longer retained stays as it is.
    Raises DatabaseUnavailable or BrokerUnavailable; running it again is safe.
    """
    for together in _by_stretch(causes, 2 * needs.windows.window_ns):
        first, last_ns = together[0], max(cause.to_ns for cause in together)
        stretch = read_stretch(needs.client, first.group_id, first.from_ns, last_ns)
        done = [] if not stretch.sealed else list(_pieces(needs, stretch, first, write=write))
        batches = tuple(batch for piece in done if piece is not None for batch in piece.written)
        outcome = REVISED if batches else BEYOND_RETENTION if None in done else UNCHANGED
        if not all(piece.stands for piece in done if piece is not None):
            outcome = OVERTAKEN
        remembered = [cause for cause in together if cause.cause_id]
        if write and remembered and outcome != OVERTAKEN:
            table = repair_table(remembered, outcome, len(batches))
            needs.sink.write({"repairs": table}, arrow_schema("batches").empty_table())
        yield Repaired(first.group_id, first.from_ns, last_ns, tuple(together), outcome, batches)


def _by_stretch(causes: Sequence[Cause], near_ns: int) -> Iterator[list[Cause]]:
    together: list[Cause] = []
    until_ns = 0
    for cause in sorted(causes, key=lambda cause: (cause.group_id, cause.from_ns)):
        if together and (cause.group_id != together[0].group_id or cause.from_ns > until_ns + near_ns):
            yield together
            together, until_ns = [], 0
        together.append(cause)
        until_ns = max(until_ns, cause.to_ns)
    if together:
        yield together


def _pieces(needs: Repairs, stretch: Stretch, first: Cause, *, write: bool) -> Iterator[_Piece | None]:
    """Revise the stretch piece by piece; None where frames are missing.

    All readings of the stretch are there for every piece: a hole between two of them may be as long.
    """
    key = first.group_id.encode()
    places = frame_positions(needs.client, first.group_id, stretch, first.from_ns)
    metered = needs.read([place for place in places if place[0] == ENERGY], key)
    for number, sealed in enumerate(_cut(stretch.sealed)):
        piece = Stretch(sealed, stretch.begins and number == 0)
        places = frame_positions(needs.client, first.group_id, piece, first.from_ns)
        ran = needs.read([place for place in places if place[0] == ITERATIONS], key)
        if metered is None or ran is None:
            yield None
            continue
        group = _group(first.group_id, stretch.sealed[0].partition, [*metered, *ran], needs.side)
        yield _revise(needs, group, piece, first, write=write)


def _cut(sealed: Sequence[Sealed]) -> Iterator[tuple[Sealed, ...]]:
    """At most MOST_BATCHES at a time, or a few more where batches overlap."""
    piece: list[Sealed] = []
    for one in sealed:
        if len(piece) >= MOST_BATCHES and one.start_ns >= max(other.end_ns for other in piece):
            yield tuple(piece)
            piece = []
        piece.append(one)
    yield tuple(piece)


def _revise(needs: Repairs, group: Group, piece: Stretch, first: Cause, *, write: bool) -> _Piece:
    batches = rebook(
        group,
        piece.sealed,
        needs.side,
        needs.split,
        window_ns=needs.windows.window_ns,
        begins=piece.begins,
        reason=first.kind,
    )
    contents = {batch.batch_id: content_of(batch) for batch in batches}
    stored = read_contents(needs.client, group.group_id, batches)
    same = {name for name, content in contents.items() if stored.get(name) == content}
    known = last_revisions(needs.client, group.group_id, piece, first.from_ns)
    written = revise(batches, piece.sealed, same, known)
    if not write or not written:
        return _Piece(written, stands=True)
    tables = {
        "ledger": ledger_table(written),
        "raw_meter": meter_table(written),
        "energy_models": model_table(written, needs.side),
    }
    needs.sink.write({name: table for name, table in tables.items() if table.num_rows}, batch_table(written))
    return _Piece(
        written, stands=read_contents(needs.client, group.group_id, written) == _seen(written, contents)
    )


def _seen(written: Sequence[Batch], contents: Mapping[str, Content]) -> dict[str, Content]:
    """What a reader sees of these batches where nothing else was written: of a superseded one, nothing."""
    return {batch.batch_id: contents[batch.batch_id] for batch in written if batch.closed_by != SUPERSEDED}


def _group(group_id: str, partition: int, messages: Iterable[Message], side: SideInputs) -> Group:
    """The group with all frames that these messages hold; those refused when they came are refused again."""
    group = Group(group_id, partition)
    for message in messages:
        try:
            if message.topic == ENERGY:
                metered = decode_energy(message.value)
                must_match_key(message, metered)
                group.hold_energy(Held(metered, message.offset, message.arrival_ns))
            else:
                ran = decode_packed(message.value)
                must_match_key(message, ran)
                if side.engine(ran.engine_id, ran.start_ns) is not None:
                    must_be_of_node(ran, side)
                    group.hold_iterations(Held(ran, message.offset, message.arrival_ns))
        except InvalidMessage:
            continue  # in the dead letters, with the reason
    return group
