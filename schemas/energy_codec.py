"""Energy frames to bytes and back; `schemas/proto/frames_v1.proto` says what each column holds.

Writer and reader run the same checks, so that what one publishes the other accepts.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from schemas import checks, limits
from schemas.blocks import decode_blocks, stack_columns
from schemas.energy import ActiveLoad, EnergyFrame, Meter
from schemas.energy_checks import READING_FIELDS, check_energy_head, check_readings
from schemas.envelope import ENERGY, VERSION, pack, unpack
from schemas.errors import MalformedMessage
from schemas.proto import columns_v1_pb2, frames_v1_pb2
from schemas.varints import unzigzag

__all__ = ["decode_energy", "encode_energy", "prepare_energy"]

FEW_READINGS: Final = 64
"""A node agent's frame has half a dozen: one by one they are judged in 2 µs, as arrays in 20."""

NAMES_KEPT: Final = 1 << 14
MOST_NAMES_BYTES: Final = 4096
"""Texts of so many groups are kept, each of at most so many bytes (16 GPUs have 2 kB): 64 MiB if somebody tries.
With more groups than are kept all their texts are read at every frame, at four times the cost."""

Int64s = NDArray[np.int64]
Bytes = NDArray[np.uint8]
Certify = Callable[[Bytes], tuple[Bytes, int, int, int, int, NDArray[np.int32], Int64s]]


def encode_energy(frame: EnergyFrame) -> bytes:
    """The message that says what `frame` says.

    Raises MalformedMessage, naming field and value, for a frame that `decode_energy` would refuse.
    """
    check_energy_head(frame)
    readings = stack_columns("reading", frame.reading_meter, frame.reading_time_ns, frame.reading_uj)
    checks.check_count("readings", readings.shape[1], limits.MAX_READINGS)
    columns: list[list[int]] = readings.tolist()
    few = readings.shape[1] <= FEW_READINGS
    if not (few and _plainly_sound(*columns, meters=len(frame.meters), end_ns=frame.end_ns)):
        check_readings(readings, len(frame.meters), frame.end_ns)
    meter, times_ns, energies_uj = readings
    base_uj = _first_energies(meter, energies_uj, len(frame.meters))
    message = frames_v1_pb2.EnergyFrame(
        schema_version=VERSION,
        group_id=frame.group_id,
        node_id=frame.node_id,
        incarnation=frame.incarnation,
        sequence=frame.sequence,
        start_ns=frame.start_ns,
        end_offset_ns=frame.end_ns - frame.start_ns,
        watermark_offset_ns=frame.watermark_ns - frame.start_ns,
        readings=meter.size,
        engines=frame.engines,
        loads=[
            frames_v1_pb2.ActiveLoad(
                load_id=load.load_id, engine_id=load.engine_id, start_ns=load.start_ns, end_ns=load.end_ns
            )
            for load in frame.loads
        ],
        meters=[
            frames_v1_pb2.Meter(
                meter_id=m.meter_id, kind=m.kind, epoch=m.epoch, scope=m.scope, source=m.source, base_uj=base
            )
            for m, base in zip(frame.meters, base_uj.tolist(), strict=True)
        ],
        reading_meter=columns[0],
        reading_offset_ns=(times_ns - frame.start_ns).tolist(),
        reading_uj=(energies_uj - base_uj[meter]).tolist(),
    )
    return pack(ENERGY, message.SerializeToString())


def decode_energy(data: bytes) -> EnergyFrame:
    """The frame in a message of `wattledger.energy.v1`.

    Raises UnknownVersion or MalformedMessage, naming field and value, for anything that does not hold
    together; no input makes it raise anything else, or allocate more than limits.py allows.
    """
    payload = unpack(ENERGY, data)
    frame = _certified(payload)
    return _checked(payload) if frame is None else frame


def _plainly_sound(
    meter: list[int], times_ns: list[int], energies_uj: list[int], *, meters: int, end_ns: int
) -> bool:
    """Whether `check_readings` would find nothing; False may also mean that it would."""
    last: list[tuple[int, int]] = [(-1, 0)] * meters
    for place, time_ns, energy_uj in zip(meter, times_ns, energies_uj, strict=True):
        if not (0 <= place < meters and 0 <= time_ns <= end_ns and 0 <= energy_uj <= limits.MAX_ENERGY_UJ):
            return False
        before_ns, before_uj = last[place]
        if time_ns <= before_ns or energy_uj < before_uj:
            return False
        last[place] = time_ns, energy_uj
    return True


@functools.cache
def _certify() -> Certify | None:
    """The compiled decoder, where Numba is installed."""
    try:
        from schemas.energy_certificate import certify_energy
    except ImportError:
        return None
    return certify_energy


def _certified(payload: bytes) -> EnergyFrame | None:
    """The frame, if it is plainly sound; raises MalformedMessage for texts that are not, as `_checked` does."""
    certify = _certify()
    if certify is None:
        return None
    found, sequence, start_ns, end_ns, watermark_ns, meter, readings = certify(
        np.frombuffer(payload, np.uint8)
    )
    names = found.tobytes()
    if not names:
        return None
    named = _named(names) if len(names) <= MOST_NAMES_BYTES else _checked(names)
    return EnergyFrame(
        group_id=named.group_id,
        node_id=named.node_id,
        incarnation=named.incarnation,
        sequence=sequence,
        start_ns=start_ns,
        end_ns=end_ns,
        watermark_ns=watermark_ns,
        engines=named.engines,
        loads=named.loads,
        meters=named.meters,
        reading_meter=meter,
        reading_time_ns=readings[0],
        reading_uj=readings[1],
    )


@functools.lru_cache(NAMES_KEPT)
def _named(payload: bytes) -> EnergyFrame:
    """The frame in a payload that holds texts and no numbers: frames of one node share what it holds."""
    return _checked(payload)


def _checked(payload: bytes) -> EnergyFrame:
    """The frame; raises MalformedMessage for whatever does not hold together."""
    try:
        message = columns_v1_pb2.EnergyFrame.FromString(payload)
    except DecodeError as error:
        raise MalformedMessage(f"payload: not an EnergyFrame ({error})") from error
    if message.schema_version != VERSION:
        version = message.schema_version
        raise MalformedMessage(f"schema_version: the header says {VERSION}, the payload {version}")
    checks.check_count("readings", message.readings, limits.MAX_READINGS)
    checks.check_count("meters", len(message.meters), limits.MAX_METERS)
    checks.check_count("engines", len(message.engines), limits.MAX_ENGINES)
    checks.check_count("loads", len(message.loads), limits.MAX_ENGINES)
    start_ns = message.start_ns
    end_ns = start_ns + message.end_offset_ns
    watermark_ns = start_ns + message.watermark_offset_ns
    checks.check_period(start_ns, end_ns, watermark_ns)
    base_uj = [meter.base_uj for meter in message.meters]
    for place, base in enumerate(base_uj):
        checks.check_integer(f"meters[{place}].base_uj", base, 0, limits.MAX_ENERGY_UJ)
    columns = [getattr(message, name) for name in READING_FIELDS]
    readings = _checked_readings(columns, message.readings, start_ns, end_ns, np.array(base_uj, np.int64))
    frame = EnergyFrame(
        group_id=message.group_id,
        node_id=message.node_id,
        incarnation=message.incarnation,
        sequence=message.sequence,
        start_ns=start_ns,
        end_ns=end_ns,
        watermark_ns=watermark_ns,
        engines=tuple(message.engines),
        loads=tuple(ActiveLoad(e.load_id, e.engine_id, e.start_ns, e.end_ns) for e in message.loads),
        meters=tuple(Meter(m.meter_id, m.kind, m.epoch, m.scope, m.source) for m in message.meters),
        reading_meter=readings[0].astype(np.int32),
        reading_time_ns=readings[1],
        reading_uj=readings[2],
    )
    check_energy_head(frame)
    return frame


def _checked_readings(
    columns: Sequence[bytes], count: int, start_ns: int, end_ns: int, base_uj: Int64s
) -> Int64s:
    """Readings `(3, count)`; raises MalformedMessage for whatever does not hold together."""
    (readings,) = decode_blocks((READING_FIELDS,), columns, (count,))
    checks.check_block(READING_FIELDS[:1], readings[:1], (base_uj.size - 1,))
    readings[1] = unzigzag(readings[1]) + start_ns
    if base_uj.size:
        readings[2] += base_uj[readings[0]]
    check_readings(readings, base_uj.size, end_ns)
    return readings


def prepare_energy() -> None:
    """Load the compiled decoder now and not at the first frame."""
    certify = _certify()
    if certify is not None:
        certify(np.frombuffer(b"", np.uint8))


def _first_energies(meter: Int64s, energies_uj: Int64s, meters: int) -> Int64s:
    """Each meter's first reading, 0 where it has none: `(meters,)`."""
    base_uj = np.zeros(meters, np.int64)
    # Of several values for one place NumPy keeps the last: reversed, that is the first reading.
    base_uj[meter[::-1]] = energies_uj[::-1]
    return base_uj
