"""A simulated ledger: rows identified by content, the earliest copy stays, and the manifest says what is sealed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from typing import Any

from schemas.topics import ENERGY, ITERATIONS
from streams.batch import ACCOUNTS, Batch
from streams.booking import book
from streams.pipeline import Frontier, SealedWindow, Work
from streams.repair import SUPERSEDED
from streams.split import SplitRules
from streams.windows import ClosedWindow
from tests.protocol.identity import by_identity
from tests.protocol.log import Log, side_inputs

__all__ = ["SPLIT", "Keyed", "Row", "Rows", "Sealed", "Store", "booked", "key_of", "laid_out", "rows_of"]

Row = tuple[Any, ...]
SPLIT = SplitRules()


@dataclass(frozen=True, slots=True)
class Rows:
    """What one flush inserts: by table, key and content of each row; `manifest` goes last."""

    data: Mapping[tuple[str, Row], Row]
    manifest: Mapping[Row, "Sealed"]


@dataclass(frozen=True, slots=True)
class Sealed:
    """A manifest row, and by (topic, incarnation, sequence) the frames that the batch is made of."""

    batch: Batch
    frames: frozenset[Row]


class Keyed:
    """A closed window by what it was made of: booking it again gives the same rows."""

    __slots__ = ("closed", "key")

    def __init__(self, closed: ClosedWindow) -> None:
        self.closed = closed
        self.key = (
            closed.group_id,
            closed.start_ns,
            closed.end_ns,
            closed.gaps,
            closed.gap_causes,
            closed.loads,
            closed.closed_by,
            tuple((held.key, held.arrival_ns) for held in closed.iterations),
            tuple((held.key, held.arrival_ns) for held in closed.energy),
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Keyed) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


@dataclass(frozen=True, slots=True)
class Booked:
    """A window's batch with its rows, its manifest row, and what it says of each account."""

    batch: Batch
    rows: Mapping[tuple[str, Row], Row]
    sealed: Sealed


@cache
def _booked(keyed: Keyed) -> Booked:
    closed = keyed.closed
    batch = book(closed, side_inputs(), SPLIT)
    frames = {(ITERATIONS, one.frame.incarnation, one.frame.sequence) for one in closed.iterations}
    frames |= {(ENERGY, one.frame.incarnation, one.frame.sequence) for one in closed.energy}
    return Booked(batch, laid_out(batch), Sealed(batch, frozenset(frames)))


@by_identity
def booked(closed: ClosedWindow) -> Booked:
    """Book a window, once for each that was made of the same."""
    return _booked(Keyed(closed))


@by_identity
def accounts_of(batch: Batch) -> dict[str, int]:
    """What the manifest says of each account, µJ."""
    return {account: batch.account_uj(account) for account in ACCOUNTS}


def laid_out(batch: Batch) -> dict[tuple[str, Row], Row]:
    """The batch's rows of `ledger` and `raw_meter`: key and content of each."""
    name = (batch.batch_id, batch.inputs, batch.revision)
    data: dict[tuple[str, Row], Row] = {}
    for line in batch.accounts:
        if line.energy_uj or line.host_uj:
            data["ledger", (*name, line.account, line.engine_id, "", -1, line.load_id)] = (
                line.energy_uj,
                line.host_uj,
            )
    for lines in batch.requests:
        window = lines.window
        for index, ordinal in enumerate(window.requests.ordinal.tolist()):
            key = (*name, "request", window.engine_id, window.incarnation, ordinal, "")
            data["ledger", key] = (
                int(lines.energy_uj[index]),
                int(lines.host_uj[index]),
                int(lines.held_ns[index]),
                window.requests.tenant[index],
            )
    for one in batch.meters:
        data["raw_meter", (*name, one.meter.meter_id, one.meter.epoch)] = (one.left, one.right)
    return data


def key_of(batch: Batch) -> Row:
    """The sorting key of `batches`: of two attempts at one revision neither erases the other."""
    return (batch.group_id, batch.start_ns, batch.batch_id, batch.revision, batch.inputs)


def rows_of(work: Work) -> Rows:
    """Book a flush's windows and lay everything out as rows."""
    data: dict[tuple[str, Row], Row] = {}
    manifest: dict[Row, Sealed] = {}
    for closed in work.windows:
        found = booked(closed)
        data.update(found.rows)
        manifest[key_of(found.batch)] = found.sealed
    for letter in work.dead_letters:
        at = letter.message
        data["dead_letters", (at.topic, at.partition, at.offset)] = (letter.reason, at.value)
    for late in work.late_frames:
        at = late.message
        data["late_frames", (at.topic, at.partition, at.offset)] = (late.group_id, late.sequence, late.end_ns)
    for load in work.loads:
        data["loads", (load.load_id,)] = (load.start_ns, load.end_ns, load.engine_id)
    return Rows(data, manifest)


@dataclass(slots=True)
class Store:
    """Tables that keep the earliest copy of a row, as the ledger's do."""

    data: dict[tuple[str, Row], Row] = field(default_factory=dict)
    manifest: dict[Row, Sealed] = field(default_factory=dict)

    @property
    def current(self) -> list[Sealed]:
        """What readers see: each batch's highest revision, and of several attempts the one that ranks highest."""
        best: dict[str, Sealed] = {}
        for arrived, sealed in enumerate(self.manifest.values()):
            known = best.get(sealed.batch.batch_id)
            if known is None or self.rank(sealed, arrived) > self.rank(known, -1):
                best[sealed.batch.batch_id] = sealed
        return [one for one in best.values() if one.batch.closed_by != SUPERSEDED]

    @property
    def batches(self) -> list[Batch]:
        """Every batch that readers see."""
        return [sealed.batch for sealed in self.current]

    def rank(self, sealed: Sealed, arrived: int) -> Row:
        """The order of `batches_as_of`: nothing in it is of the time of arrival."""
        del arrived
        batch = sealed.batch
        frames = batch.iteration_frames + batch.energy_frames
        return (batch.revision, batch.closed_by == SUPERSEDED, frames, batch.inputs)

    def insert_data(self, rows: Rows) -> None:
        """Everything but the manifest."""
        for key, content in rows.data.items():
            self.data.setdefault(key, content)

    def insert_manifest(self, rows: Rows) -> None:
        """The rows that seal."""
        for key, sealed in rows.manifest.items():
            self.manifest.setdefault(key, sealed)

    def frontier(self, partitions: Iterable[int], positions: Mapping[tuple[str, int], int]) -> Frontier:
        """What a worker that resumes at `positions` is told; as `streams.ledger.frontier` asks the database."""
        wanted = frozenset(partitions)
        written = [sealed.batch for sealed in self.manifest.values()]
        here = {batch.group_id for batch in written if batch.partition in wanted}
        sealed = {group: end_ns for group, end_ns in self.sealed_until_ns().items() if group in here}
        replayable: dict[str, list[SealedWindow]] = {}
        for batch in written:
            if batch.partition not in wanted:
                continue
            last_iteration, last_energy = batch.iteration_offsets[1], batch.energy_offsets[1]
            if (
                last_iteration >= positions[ITERATIONS, batch.partition]
                or last_energy >= positions[ENERGY, batch.partition]
            ):
                replayable.setdefault(batch.group_id, []).append(
                    SealedWindow(batch.start_ns, batch.end_ns, last_iteration, last_energy)
                )
        return Frontier(
            sealed, {group: tuple(windows) for group, windows in replayable.items()}, dict(positions)
        )

    def sealed_until_ns(self) -> dict[str, int]:
        """By group: the end of its last sealed window."""
        sealed: dict[str, int] = {}
        for one in self.manifest.values():
            batch = one.batch
            sealed[batch.group_id] = max(sealed.get(batch.group_id, 0), batch.end_ns)
        return sealed

    def visible(self) -> dict[Any, Any]:
        """What a reader sees: sealed batches with their rows, and what is no batch."""
        current = self.current
        sealed = {(one.batch.batch_id, one.batch.inputs, one.batch.revision) for one in current}
        rows: dict[Any, Any] = {
            key: content
            for key, content in self.data.items()
            if key[0] in ("loads", "dead_letters")
            or (key[0] in ("ledger", "raw_meter") and key[1][:3] in sealed)
        }
        for one in current:
            batch = one.batch
            rows["batches", key_of(batch)] = (
                batch.metered_uj,
                batch.account_uj("unobserved"),
                batch.iteration_offsets,
                batch.energy_offsets,
                batch.iteration_frames,
                batch.energy_frames,
                batch.gap_causes,
                batch.closed_by,
                batch.ingested_ns,
            )
        return rows

    def open_batches(self) -> list[str]:
        """Batches whose ledger rows are not, account by account, what the manifest says."""
        booked: dict[Row, int] = {}
        for (table, key), content in self.data.items():
            if table == "ledger":
                booked[key[:4]] = booked.get(key[:4], 0) + content[0]
        return [
            f"{batch.group_id}@{batch.start_ns}: {account} {found} of {said_uj} µJ"
            for batch in self.batches
            for account, said_uj in accounts_of(batch).items()
            if (found := booked.get((batch.batch_id, batch.inputs, batch.revision, account), 0)) != said_uj
        ]

    def overlaps(self) -> list[str]:
        """Neighbouring batches of a group that claim the same time."""
        batches = sorted(self.batches, key=lambda batch: (batch.group_id, batch.start_ns))
        return [
            f"{one.group_id}: [{one.start_ns}, {one.end_ns}) and [{two.start_ns}, {two.end_ns})"
            for one, two in pairwise(batches)
            if one.group_id == two.group_id and one.end_ns > two.start_ns
        ]

    def forgotten(self, log: Log) -> list[str]:
        """Frames that lie in a sealed window which does not know them, and that are not recorded as late."""
        return [
            f"{at} of {batch.group_id} from {log.frames[at].start_ns}"
            for batch, known in ((sealed.batch, sealed.frames) for sealed in self.current)
            for identity in log.touching(batch.group_id, batch.start_ns, batch.end_ns).keys() - known
            for at in log.touching(batch.group_id, batch.start_ns, batch.end_ns)[identity]
            if ("late_frames", at) not in self.data
        ]
