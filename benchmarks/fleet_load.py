"""Frames of a mixed fleet, made as fast as they are read: three kinds of engines, each drawn once and renamed.

Every engine runs 50 iterations/s, and prefill chunks enter all the time. Seven of ten are dense with a batch of 40,
three of twenty are mixtures of experts with 64, three of twenty run 176 requests, beyond the token knee: mean 64.
Every class has a published energy model with a knee, so that chunks and large batches need the hinge's shares.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Final

from confluent_kafka import Producer

from producers.simulation.fleet import FRAME_US, FleetEvent, events
from producers.simulation.publish import encode_event
from producers.simulation.steady import steady_fleet
from schemas.energy import EnergyFrame
from schemas.iterations import IterationFrame
from schemas.side_input_codec import decode_engine, decode_model, encode_engine, encode_model
from schemas.side_inputs import EngineDescriptor, ModelVersion
from schemas.topics import ENGINES, MODELS
from streams.side_inputs import SideInputs

__all__ = [
    "KINDS",
    "MEAN_BATCH",
    "Kind",
    "Load",
    "Message",
    "frames",
    "known_side_inputs",
    "send",
    "side_inputs",
]

Message = tuple[str, bytes, bytes]
"""(topic, key, value)."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of engine and how many of twenty engines are of it."""

    engine_type: str
    batch: int
    of_twenty: int
    coefficients: tuple[tuple[str, float], ...]
    """Of its class's energy model; joules."""


_DENSE: Final = (
    ("fixed_j", 3.1), ("request_j", 1.1e-2), ("prefill_token_j", 8e-3), ("context_token_j", 1.5e-5),
    ("excess_token_j", 6e-3), ("knee_tokens", 128.0), ("idle_w", 110.0),
)  # fmt: skip
_EXPERTS: Final = (
    ("fixed_j", 1.9), ("request_j", 9e-3), ("prefill_token_j", 4e-3), ("context_token_j", 1.8e-5),
    ("experts_j", 5.0), ("expert_fraction", 8 / 128), ("idle_w", 220.0),
)  # fmt: skip

KINDS: Final = (
    Kind("llama-3.1-8b-h100", 40, 14, _DENSE),
    Kind("qwen3-30b-a3b-2xh100", 64, 3, _EXPERTS),
    Kind("qwen3-14b-h100", 176, 3, _DENSE),
)
MEAN_BATCH: Final = sum(kind.batch * kind.of_twenty for kind in KINDS) / 20


@dataclass(frozen=True, slots=True)
class Load:
    """What a run is given."""

    engines: int
    seconds: float
    """Of event time; a whole number of frames."""
    cluster: str
    kinds: tuple[Kind, ...] = KINDS

    def kind_of(self, engine: int) -> int:
        """Which of `kinds`: dealt evenly, so that any part of the fleet is mixed like the whole."""
        at = (engine * 7) % sum(kind.of_twenty for kind in self.kinds)
        for index, kind in enumerate(self.kinds):
            if at < kind.of_twenty:
                return index
            at -= kind.of_twenty
        raise AssertionError(at)

    def engine_id(self, engine: int) -> str:
        """Eight engines to a node."""
        return f"{self.cluster}/node-{engine // 8:05d}/engine-{engine:05d}"

    @property
    def request_iterations(self) -> int:
        """Of all engines over the whole time."""
        drawn = [_drawn(kind, self.seconds) for kind in self.kinds]
        return sum(drawn[self.kind_of(engine)].request_iterations for engine in range(self.engines))


@dataclass(frozen=True, slots=True)
class _Drawn:
    """One engine's events with times from 0."""

    descriptor: EngineDescriptor
    slots: tuple[tuple[EnergyFrame, IterationFrame], ...]
    """By frame interval."""
    request_iterations: int


@cache
def _drawn(kind: Kind, seconds: float) -> _Drawn:
    fleet = steady_fleet(1, seconds, batch=kind.batch, kind=kind.engine_type, cluster="drawn")
    values = [event.value for event in events(fleet, _ZERO_NS)]
    energy = [value for value in values if isinstance(value, EnergyFrame)]
    iterations = [value for value in values if isinstance(value, IterationFrame)]
    (descriptor,) = (value for value in values if isinstance(value, EngineDescriptor))
    return _Drawn(descriptor, tuple(zip(energy, iterations, strict=True)), fleet.request_iterations)


_ZERO_NS: Final = 1_700_000_000_000_000_000
"""Origin of what is drawn: frames hold no times before 1970."""


def side_inputs(load: Load, origin_ns: int) -> Iterator[Message]:
    """Descriptors of every engine and a model of every class, in force before the first frame."""
    before_ns = origin_ns - 3_600_000_000_000
    for kind in load.kinds:
        engine_class = _drawn(kind, load.seconds).descriptor.engine_class
        version = ModelVersion(
            engine_class=engine_class,
            version=f"bench-{kind.engine_type}",
            effective_from_ns=before_ns,
            origin="fit",
            coefficients=dict(kind.coefficients),
            fit_error=0.03,
        )
        yield MODELS, engine_class.encode(), encode_model(version)
    for engine in range(load.engines):
        drawn = _drawn(load.kinds[load.kind_of(engine)], load.seconds).descriptor
        name = load.engine_id(engine)
        descriptor = replace(
            drawn,
            engine_id=name,
            group_id=name,
            node_id=name.rpartition("/")[0],
            effective_from_ns=before_ns,
            gpu_uuids=tuple(f"{uuid}-{engine:05d}" for uuid in drawn.gpu_uuids),
        )
        yield ENGINES, name.encode(), encode_engine(descriptor)


def known_side_inputs(load: Load, origin_ns: int) -> SideInputs:
    """The same as a worker has them once it has read their topics."""
    known = SideInputs()
    for topic, _, value in side_inputs(load, origin_ns):
        if topic == MODELS:
            known.add_model(decode_model(value))
        else:
            known.add_engine(decode_engine(value))
    return known


def frames(load: Load, origin_ns: int) -> Iterator[tuple[int, list[Message]]]:
    """By frame interval: when it ends (ns), and every engine's energy and iteration frame."""
    drawn = [_drawn(kind, load.seconds) for kind in load.kinds]
    for slot in range(len(drawn[0].slots)):
        end_ns = origin_ns + (slot + 1) * FRAME_US * 1000
        found: list[Message] = []
        for engine in range(load.engines):
            energy, iterations = drawn[load.kind_of(engine)].slots[slot]
            found.append(_encoded(_renamed_energy(energy, load, engine, origin_ns)))
            found.append(_encoded(_renamed(iterations, load, engine, origin_ns)))
        yield end_ns, found


def send(producer: Producer, messages: Iterable[Message]) -> None:
    """Hand them to the producer, waiting where its queue is full."""
    for topic, key, value in messages:
        while True:
            try:
                producer.produce(topic, value, key)
                break
            except BufferError:
                producer.poll(0.1)
    producer.poll(0)


def _renamed(frame: IterationFrame, load: Load, engine: int, origin_ns: int) -> IterationFrame:
    shift_ns, name = origin_ns - _ZERO_NS, load.engine_id(engine)
    born_ns = frame.incarnation_start_ns + shift_ns
    return replace(
        frame,
        group_id=name,
        engine_id=name,
        incarnation=f"{born_ns}-{engine:08x}",
        incarnation_start_ns=born_ns,
        start_ns=frame.start_ns + shift_ns,
        end_ns=frame.end_ns + shift_ns,
        watermark_ns=frame.watermark_ns + shift_ns,
        iteration_start_ns=frame.iteration_start_ns + shift_ns,
        iteration_end_ns=frame.iteration_end_ns + shift_ns,
    )


def _renamed_energy(frame: EnergyFrame, load: Load, engine: int, origin_ns: int) -> EnergyFrame:
    shift_ns, name = origin_ns - _ZERO_NS, load.engine_id(engine)
    return replace(
        frame,
        group_id=name,
        node_id=name.rpartition("/")[0],
        engines=(name,),
        start_ns=frame.start_ns + shift_ns,
        end_ns=frame.end_ns + shift_ns,
        watermark_ns=frame.watermark_ns + shift_ns,
        meters=tuple(
            replace(meter, meter_id=f"{meter.meter_id}-{engine:05d}", epoch=f"{engine}")
            for meter in frame.meters
        ),
        reading_time_ns=frame.reading_time_ns + shift_ns,
    )


def _encoded(frame: EnergyFrame | IterationFrame) -> Message:
    return encode_event(FleetEvent(at_ns=frame.end_ns, group_id=frame.group_id, value=frame))
