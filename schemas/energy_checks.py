"""What must hold in an energy frame, whoever made it: the writer and the reader check the same statements."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas import checks, limits
from schemas.energy import ActiveLoad, EnergyFrame, Meter
from schemas.errors import MalformedMessage

__all__ = ["READING_FIELDS", "check_energy_head", "check_readings"]

Int64s = NDArray[np.int64]

READING_FIELDS: Final = ("reading_meter", "reading_offset_ns", "reading_uj")

_READINGS: Final = ("reading_meter", "reading_time_ns", "reading_uj")
_KINDS: Final = ("gpu", "host")
_SCOPES: Final = ("gpu", "module", "host")
_SOURCES: Final = ("counter", "integrated", "parametric")


def check_energy_head(frame: EnergyFrame) -> None:
    """Names are there, counts bounded, times in order, meters distinct and of known kinds."""
    checks.check_text("group_id", frame.group_id)
    checks.check_text("node_id", frame.node_id)
    checks.check_text("incarnation", frame.incarnation)
    checks.check_integer("sequence", frame.sequence, 0, limits.MAX_SEQUENCE)
    checks.check_period(frame.start_ns, frame.end_ns, frame.watermark_ns)
    checks.check_count("engines", len(frame.engines), limits.MAX_ENGINES)
    checks.check_count("loads", len(frame.loads), limits.MAX_ENGINES)
    checks.check_count("meters", len(frame.meters), limits.MAX_METERS)
    for place, engine in enumerate(frame.engines):
        checks.check_text(f"engines[{place}]", engine)
    for place, load in enumerate(frame.loads):
        _check_load(f"loads[{place}]", load)
    seen: set[tuple[str, str]] = set()
    for place, meter in enumerate(frame.meters):
        _check_meter(f"meters[{place}]", meter)
        if (meter.meter_id, meter.epoch) in seen:
            raise MalformedMessage(f"meters[{place}]: {meter.meter_id} of epoch {meter.epoch} is there twice")
        seen.add((meter.meter_id, meter.epoch))


def check_readings(block: Int64s, meters: int, end_ns: int) -> None:
    """Readings `(3, n)`: meter, Unix ns, cumulative µJ. Per meter, time ascends and energy never falls."""
    checks.check_block(_READINGS, block, (meters - 1, end_ns, limits.MAX_ENERGY_UJ))
    order = np.argsort(block[0], kind="stable")
    meter, times_ns, energies_uj = block[:, order]
    same = meter[1:] == meter[:-1]
    again = same & (times_ns[1:] <= times_ns[:-1])
    checks.refuse_where(again, "reading_time_ns", times_ns, "not after its meter's reading before", shift=1)
    fall = same & (energies_uj[1:] < energies_uj[:-1])
    checks.refuse_where(
        fall, "reading_uj", energies_uj, "falls: a new epoch needs a meter of its own", shift=1
    )


def _check_load(field: str, load: ActiveLoad) -> None:
    checks.check_text(f"{field}.load_id", load.load_id)
    checks.check_text(f"{field}.engine_id", load.engine_id)
    checks.check_integer(f"{field}.start_ns", load.start_ns, 0, limits.MAX_TIME_NS)
    if load.end_ns:
        checks.check_integer(f"{field}.end_ns", load.end_ns, load.start_ns, limits.MAX_TIME_NS)


def _check_meter(field: str, meter: Meter) -> None:
    checks.check_text(f"{field}.meter_id", meter.meter_id)
    checks.check_texts(f"{field}.epoch", (meter.epoch,))
    checks.check_choice(f"{field}.kind", meter.kind, _KINDS)
    checks.check_choice(f"{field}.scope", meter.scope, _SCOPES)
    checks.check_choice(f"{field}.source", meter.source, _SOURCES)
