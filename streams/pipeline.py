"""The pure core of the worker: bytes and offsets in, closed windows and what may be committed out.

No clock and no I/O, so that live traffic, backfill and tests run the same code. The order of calls is the
commit protocol: `receive` messages, `take` the work that is due, make it durable, then `settle` it; only then
may the returned positions be committed. A crash anywhere repeats work, and never loses it.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping

from schemas.energy import EnergyFrame
from schemas.errors import InvalidMessage, UnknownEngine
from schemas.frames import decode_energy, decode_packed
from schemas.packed_iterations import PackedIterations
from schemas.side_input_codec import decode_load
from schemas.side_inputs import Load
from schemas.topics import ENERGY, ITERATIONS, LOADS
from streams.acks import AckQueue
from streams.ending import last_word_ns, seal_rest
from streams.messages import (
    DeadLetter,
    LateFrame,
    Message,
    late_frame,
    must_be_of_node,
    must_match_key,
)
from streams.sealed import Frontier, SealedWindow, has_missed
from streams.side_inputs import SideInputs
from streams.windows import (
    ClosedWindow,
    Group,
    Held,
    WindowRules,
    due_windows,
    forget_sealed,
    is_overdue,
    is_past_its_end,
    sees_sealed_edge,
)
from streams.work import Work

__all__ = [
    "DeadLetter",
    "Frontier",
    "LateFrame",
    "Message",
    "Pipeline",
    "SealedWindow",
    "Work",
]


class Pipeline:
    """State between messages and durable windows, of the partitions assigned to one worker."""

    def __init__(self, rules: WindowRules, side: SideInputs, frontier: Frontier) -> None:
        self._rules = rules
        self._side = side
        self._frontier = frontier
        self._groups: dict[str, Group] = {}
        self._touched: set[str] = set()
        self._acks: dict[tuple[str, int], AckQueue] = defaultdict(
            AckQueue, {position: AckQueue(offset) for position, offset in frontier.positions.items()}
        )
        self._read_to_ns: dict[tuple[str, int], int] = defaultdict(int)
        self._overdue: dict[int, set[str]] = defaultdict(set)
        self._read_on: set[int] = set()
        self._ended: set[str] = set()
        self._dead: list[DeadLetter] = []
        self._late: list[LateFrame] = []
        self._loads: list[Load] = []
        self._finished: list[tuple[str, int, int]] = []
        self._durable_ns: dict[str, int] = dict(frontier.sealed_until_ns)
        self._arrived_ns: dict[int, int] = defaultdict(int)
        self._heard_ns: dict[str, int] = {}
        self.held_bytes = 0
        self.refused_in_a_row = 0
        """Messages refused since the last good one."""
        self._receivers = {
            ITERATIONS: self._receive_iterations,
            ENERGY: self._receive_energy,
            LOADS: self._receive_load,
        }

    @property
    def groups(self) -> Mapping[str, Group]:
        """Groups with frames in memory."""
        return self._groups

    def durable_until_ns(self) -> int:
        """Event time up to which every group with frames in memory is durable; 0 before the first window."""
        return min((self._durable_ns.get(group, 0) for group in self._groups), default=0)

    def missing_before(self, message: Message) -> int:
        """How many messages of its partition should have come before this one and did not.

        Where a log has no holes of its own (transactions and compaction make some) they were lost on the way.
        """
        return self._acks[message.topic, message.partition].missing_before(message.offset)

    def receive(self, message: Message, *, engines_may_be_unknown: bool = False) -> None:
        """Take one message in; one that was received before changes nothing.

        Raises UnknownEngine, having taken nothing, when `engines_may_be_unknown` and no descriptor names the
        frame's engine: the caller reads the descriptors to their end and calls again without the flag, and
        then the frame is a dead letter. Every other bad message becomes a dead letter at once.
        """
        if self._acks[message.topic, message.partition].is_repeat(message.offset):
            return
        try:
            self._receivers[message.topic](message)
            self.refused_in_a_row = 0
        except UnknownEngine as error:
            if engines_may_be_unknown:
                raise
            self._bury(message, error)
        except InvalidMessage as error:
            self._bury(message, error)
        self.log_read(message.topic, message.partition, message.arrival_ns)

    def refuse(self, message: Message, error: InvalidMessage) -> None:
        """Set a message aside unread, such as one that nobody who may send it has signed."""
        if not self._acks[message.topic, message.partition].is_repeat(message.offset):
            self._bury(message, error)
            self.log_read(message.topic, message.partition, message.arrival_ns)

    def log_read(self, topic: str, partition: int, arrival_ns: int) -> None:
        """Every message of `topic` that arrived in `partition` before `arrival_ns` has been received."""
        position = (topic, partition)
        if arrival_ns > self._read_to_ns[position]:
            self._read_to_ns[position] = arrival_ns
        self._read_on.add(partition)

    def overdue(self) -> dict[int, int]:
        """By partition where a window stays open only for frames that may lie unread in the log: until which
        arrival time iterations and energy must have been read before a stream may be called silent.
        """
        return {
            partition: max(self._heard_ns[group_id] for group_id in overdue)
            for partition, overdue in self._overdue.items()
            if overdue
        }

    def quiet(self, now_ns: int) -> dict[int, int]:
        """By partition where a group has long been unheard of: when it was heard last. It may have ended, or the
        log may not be read so far.
        """
        return {
            group.partition: self._heard_ns[group_id]
            for group_id, group in self._groups.items()
            if now_ns - self._heard_ns[group_id] > self._rules.park_ns
        }

    def position(self, topic: str, partition: int) -> int:
        """The offset that must come next; 0 before the first message where reading may begin anywhere."""
        return self._acks[topic, partition].next_offset or 0

    def _receive_iterations(self, message: Message) -> None:
        frame = decode_packed(message.value)
        must_match_key(message, frame)
        known = self._groups.get(frame.group_id)
        if known is None or frame.engine_id not in known.iterations:  # an engine whose frames are held passed
            must_be_of_node(frame, self._side)
        group = self._group(frame.group_id, message)
        if self._is_late(group, message, frame.earliest_ns, frame.end_ns):
            self._late.append(late_frame(message, frame, frame.engine_id))
        wanted = group.sealed_ns is None or frame.end_ns > group.sealed_ns
        held = Held(frame, message.offset, message.arrival_ns, len(message.value))
        self._place(message, held=wanted and group.hold_iterations(held))

    def _receive_energy(self, message: Message) -> None:
        frame = decode_energy(message.value)
        must_match_key(message, frame)
        group = self._group(frame.group_id, message)
        late = self._is_late(group, message, frame.start_ns, frame.end_ns)
        late = late or (message.offset > group.last_energy_offset and sees_sealed_edge(group, frame))
        if late:
            self._late.append(late_frame(message, frame, ""))
        # A replayed frame may hold the last reading before the frontier: keep it, `forget_sealed` decides. A
        # late one would move the meter's reading at the frontier, of which the window before it knows nothing.
        held = Held(frame, message.offset, message.arrival_ns, len(message.value))
        self._place(message, held=not late and group.hold_energy(held))

    def _receive_load(self, message: Message) -> None:
        load = decode_load(message.value)
        if message.key != load.group_id.encode():
            key = message.key.decode("utf-8", "replace")
            raise InvalidMessage(f"key {key!r} is not the load's group_id {load.group_id!r}")
        self._loads.append(load)
        self._acked_by_flush(message)

    def _group(self, group_id: str, message: Message) -> Group:
        self._heard_ns[group_id] = max(message.arrival_ns, self._heard_ns.get(group_id, 0))
        newest_ns = self._arrived_ns[message.partition]
        self._arrived_ns[message.partition] = max(newest_ns, message.arrival_ns)
        group = self._groups.get(group_id)
        if group is None:
            group = Group(group_id, message.partition, self._durable_ns.get(group_id))
            for window in self._frontier.replayable.get(group_id, ()):
                group.last_energy_offset = max(group.last_energy_offset, window.last_energy_offset)
            self._groups[group_id] = group
        self._touched.add(group_id)
        return group

    def _is_late(self, group: Group, message: Message, start_ns: int, end_ns: int) -> bool:
        """Whether a part of the frame lies in a sealed window that did not see it."""
        if group.sealed_ns is None or start_ns >= group.sealed_ns:
            return False
        replayable = self._frontier.replayable.get(group.group_id, ())
        return has_missed(group.sealed_ns, replayable, message, start_ns, end_ns)

    def _place(self, message: Message, *, held: bool) -> None:
        if held:
            self._acks[message.topic, message.partition].receive(message.offset)
            self.held_bytes += len(message.value)
        else:
            self._acked_by_flush(message)

    def _acked_by_flush(self, message: Message) -> None:
        self._acks[message.topic, message.partition].receive(message.offset)
        self._finished.append((message.topic, message.partition, message.offset))

    def _bury(self, message: Message, error: InvalidMessage) -> None:
        self._acked_by_flush(message)
        self._dead.append(DeadLetter(message, error.reason, str(error)))
        self.refused_in_a_row += 1

    def take(self, most_windows: int = 500) -> Work:
        """The work that is due, at most about `most_windows` windows of it; what is taken is not given again."""
        windows: list[ClosedWindow] = []
        self._touched.update(*(self._overdue[partition] for partition in self._read_on))
        self._read_on.clear()
        for group_id in sorted(self._touched):
            group = self._groups[group_id]
            self._touched.discard(group_id)
            self._overdue[group.partition].discard(group_id)
            if not is_past_its_end(group, self._rules):
                continue
            windows += due_windows(group, self._rules, read_to_ns=self._both_read_to_ns(group.partition))
            if is_overdue(group, self._rules):
                self._overdue[group.partition].add(group_id)
            if len(windows) >= most_windows:
                break
        windows += self._seal_ended({closed.group_id for closed in windows} | self._touched)
        work = Work(
            tuple(windows), tuple(self._dead), tuple(self._late), tuple(self._loads), tuple(self._finished)
        )
        self._dead, self._late, self._loads, self._finished = [], [], [], []
        return work

    def _both_read_to_ns(self, partition: int) -> int:
        return min(self._read_to_ns[ITERATIONS, partition], self._read_to_ns[ENERGY, partition])

    def _seal_ended(self, busy: Collection[str]) -> Iterator[ClosedWindow]:
        """Seal what is left of groups that ended or were cut off long ago: one must not hold its partition's
        commits, nor keep its last joules. Judged by the broker's append times, so that every worker does the same.
        """
        ended_ns = {
            partition: max(arrived_ns, self._both_read_to_ns(partition)) - self._rules.park_ns
            for partition, arrived_ns in self._arrived_ns.items()
        }
        for group_id, group in list(self._groups.items()):
            if self._heard_ns[group_id] > ended_ns[group.partition] or group_id in busy:
                continue
            rest = seal_rest(group, self._rules)
            yield from rest
            if rest:
                self._ended.add(group_id)
            else:
                self._let_go(group)

    def _let_go(self, group: Group) -> None:
        """Nothing of the group is needed any more."""
        for frames in group.iterations.values():
            self._finish(ITERATIONS, group.partition, frames)
        self._finish(ENERGY, group.partition, group.energy)
        del self._groups[group.group_id]
        del self._heard_ns[group.group_id]
        self._overdue[group.partition].discard(group.group_id)

    def _finish(
        self, topic: str, partition: int, frames: Iterable[Held[PackedIterations] | Held[EnergyFrame]]
    ) -> None:
        acks = self._acks[topic, partition]
        for held in frames:
            acks.finish(held.offset)
            self.held_bytes -= held.size

    def settle(self, work: Work) -> dict[tuple[str, int], int]:
        """`work` is durable: returns, by topic and partition, the position that may now be committed."""
        for topic, partition, offset in work.finished:
            self._acks[topic, partition].finish(offset)
        durable = {closed.group_id: closed.end_ns for closed in work.windows}
        self._durable_ns |= durable
        for group_id, durable_ns in durable.items():
            group = self._groups[group_id]
            dropped = forget_sealed(group, durable_ns, self._rules.silent_meter_ns)
            self._finish(ITERATIONS, group.partition, dropped[0])
            self._finish(ENERGY, group.partition, dropped[1])
            if group_id in self._ended and last_word_ns(group) <= durable_ns:
                self._let_go(group)
            self._ended.discard(group_id)
        released = {key: queue.release() for key, queue in self._acks.items()}
        return {key: position for key, position in released.items() if position is not None}
