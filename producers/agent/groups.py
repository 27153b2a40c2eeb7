"""The metering groups of a node as they come, change and go, and the energy frames cut for them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from producers.agent.energy_frames import GroupBook, HostBook, energy_frame, gather, moved_epoch
from producers.agent.engines import Engine
from producers.agent.grouping import GroupPlan
from producers.agent.sampling import Probe
from schemas.energy import ActiveLoad, EnergyFrame
from schemas.side_inputs import EngineDescriptor, Load

__all__ = ["Groups", "descriptor"]

RETIREMENT_NS: Final = 60_000_000_000
"""How long a group that lost its GPUs still sends empty frames: its last windows close only when time goes on,
after the worker's wait and its patience with a silent engine (10 s by default)."""


@dataclass(slots=True)
class Groups:
    """Every group of a node, the meters they share out, and the sequence of each one's frames."""

    node_id: str
    life: str
    now_ns: Callable[[], int]
    probes: dict[str, Probe]
    """By GPU."""
    host_probe: Probe | None
    moves: dict[str, int]
    """Per GPU: how often it went from one group to another; kept across agents."""
    sequences: dict[str, int]
    """Per group: its next frame; kept across agents."""
    books: dict[str, GroupBook] = field(default_factory=dict)
    retired: dict[str, tuple[GroupBook, int]] = field(default_factory=dict)
    """Groups that are no more, and until when their time goes on."""
    host: HostBook = field(init=False)
    all_probes: list[Probe] = field(init=False)
    """GPUs, then the host."""

    def __post_init__(self) -> None:
        self.host = HostBook(self.life, self.node_id)
        self.all_probes = [*self.probes.values(), *([self.host_probe] if self.host_probe is not None else [])]

    @property
    def by_engine(self) -> dict[str, str]:
        """The group of each engine."""
        return {engine: group_id for group_id, book in self.books.items() for engine in book.plan.engines}

    def replan(
        self, plans: list[GroupPlan], loads: Mapping[str, Load]
    ) -> tuple[list[EnergyFrame], list[GroupPlan]]:
        """Pass to new plans: the last frames of what was, and the plans that are new or changed.

        Every counter is read at the change; a group that loses a GPU ends with that reading, and the group
        that gains it begins with the same one, so no joule falls between them.
        """
        if {plan.group_id: plan for plan in plans} == {id_: book.plan for id_, book in self.books.items()}:
            return [], []
        edges = {uuid: probe.edge() for uuid, probe in self.probes.items()}
        if self.host_probe is not None:
            self.host_probe.edge()
        end_ns = self.now_ns() + 1
        was_in = {uuid: book.plan.group_id for book in self.books.values() for uuid in book.plan.gpu_uuids}
        frames = self.cut(end_ns, loads)
        before, self.books = self.books, {}
        self.retired |= {
            group_id: (GroupBook(GroupPlan(group_id, (), ()), end_ns), end_ns + RETIREMENT_NS)
            for group_id in before
        }
        changed = []
        for plan in plans:
            self.retired.pop(plan.group_id, None)
            book = before.get(plan.group_id)
            if book is not None and book.plan == plan:
                self.books[plan.group_id] = book
                continue
            changed.append(plan)
            self.books[plan.group_id] = book = GroupBook(plan, end_ns)
            for uuid in plan.gpu_uuids:
                if was_in.get(uuid, plan.group_id) == plan.group_id:
                    continue
                self.moves[uuid] = self.moves.get(uuid, 0) + 1
                edge = edges.get(uuid)
                if edge is not None:
                    book.carried.append(moved_epoch(edge, self.moves[uuid]))
        return frames, changed

    def cut(self, end_ns: int, loads: Mapping[str, Load]) -> list[EnergyFrame]:
        """An energy frame of every group, up to `end_ns`."""
        plans = [book.plan for book in self.books.values()]
        if self.host_probe is not None and plans:
            self.host.deal(self.host_probe.take(end_ns), plans)
        frames = []
        self.retired = {group_id: kept for group_id, kept in self.retired.items() if kept[1] > end_ns}
        ending = {group_id: book for group_id, (book, _) in self.retired.items()}
        for group_id, book in (self.books | ending).items():
            sequence = self.sequences.get(group_id, 0)
            self.sequences[group_id] = sequence + 1
            readings = gather(book, self.probes, self.moves, end_ns) + self.host.take(group_id)
            frames.append(
                energy_frame(
                    book,
                    readings,
                    node_id=self.node_id,
                    life=self.life,
                    sequence=sequence,
                    end_ns=end_ns,
                    loads=active_loads(book, loads, end_ns),
                )
            )
            book.start_ns, book.known_ns = end_ns, frames[-1].watermark_ns
        return frames


def active_loads(book: GroupBook, loads: Mapping[str, Load], end_ns: int) -> list[ActiveLoad]:
    """Loads of the group's engines that ran in the frame that ends at `end_ns`."""
    return [
        ActiveLoad(load.load_id, load.engine_id, load.start_ns, load.end_ns)
        for load in loads.values()
        if load.engine_id in book.plan.engines
        and load.start_ns < end_ns
        and not 0 < load.end_ns <= book.start_ns
    ]


def descriptor(
    engine: Engine,
    *,
    group_id: str,
    node_id: str,
    gpu_name: Callable[[Engine], str],
    zone: str,
    site: str,
    contested_gpus: tuple[str, ...] = (),
) -> EngineDescriptor:
    """What the rest of the fleet learns of an engine."""
    facts = engine.facts
    return EngineDescriptor(
        engine_id=engine.engine_id,
        group_id=group_id,
        node_id=node_id,
        effective_from_ns=engine.incarnation_start_ns,
        model=facts.model,
        precision=facts.precision,
        gpu_model=facts.gpu_model or gpu_name(engine),
        gpu_uuids=engine.gpu_uuids,
        tensor_parallel=facts.tensor_parallel,
        pipeline_parallel=facts.pipeline_parallel,
        data_parallel=facts.data_parallel,
        engine_software=facts.software,
        zone=zone,
        site=site,
        weight_bytes=facts.weight_bytes,
        kv_bytes_per_token=facts.kv_bytes_per_token,
        experts_total=facts.experts_total,
        experts_active=facts.experts_active,
        expert_weight_bytes=facts.expert_weight_bytes,
        contested_gpus=contested_gpus,
    )
