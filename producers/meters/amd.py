"""AMD GPUs through amdsmi: written from its documentation and never run on hardware (docs/agent.md says so).

Known faults, from public reports: the accumulator stands still or jumps absurdly on MI100 and MI210 and is
absent in guests (ROCm/amdsmi #38); on MI250 one of the two chiplets reports for both. Readings that power
contradicts are therefore refused rather than booked.
"""

from typing import Any, Final

from producers.meters.contract import Clock, MeterIdentity, Reading
from producers.meters.epochs import Epoch, epoch_of
from schemas.errors import MeterError

__all__ = ["AmdMeter", "open_amd"]

MAX_GPU_POWER_W: Final = 3000
"""No accelerator draws more; a counter that says so is broken (MI355X: 1400 W, and MI250 reports two
chiplets)."""


def open_amd(clock: Clock, *, boot: str, kept: dict[str, Epoch]) -> list["AmdMeter"]:
    """One meter per AMD GPU; MeterError where amdsmi is absent or refuses."""
    try:
        import amdsmi
    except (ImportError, OSError, KeyError) as error:
        raise MeterError(
            f"AMD GPUs: amdsmi cannot be imported ({error}); install ROCm's amdsmi package into the agent's "
            "environment"
        ) from error
    try:
        amdsmi.amdsmi_init()
        meters = []
        for handle in amdsmi.amdsmi_get_processor_handles():
            uuid = amdsmi.amdsmi_get_gpu_device_uuid(handle)
            meters.append(AmdMeter(amdsmi, handle, uuid, clock, boot=boot, last=kept.get(uuid)))
    except amdsmi.AmdSmiException as error:
        raise MeterError(f"AMD GPUs: amdsmi says {error}; see `amd-smi list` on the node") from error
    return meters


class AmdMeter:
    """One AMD GPU; `smi` is the amdsmi module."""

    def __init__(
        self, smi: Any, handle: Any, uuid: str, clock: Clock, *, boot: str, last: Epoch | None = None
    ) -> None:
        self._smi = smi
        self._handle = handle
        self._uuid = uuid
        self._clock = clock
        self._boot = boot
        self.epoch = last
        self._last: Reading | None = None

    @property
    def meter_id(self) -> str:
        """The GPU's UUID."""
        return self._uuid

    def read(self) -> Reading:
        """The accumulator now; see the contract. A reading that implies an impossible power is refused."""
        try:
            raw = self._smi.amdsmi_get_energy_count(self._handle)
            energy_uj = int(raw["energy_accumulator"] * raw["counter_resolution"])
        except (self._smi.AmdSmiException, KeyError, TypeError) as error:
            raise MeterError(
                f"GPU {self._uuid}: amdsmi says {error}; see `amd-smi metric --energy`"
            ) from error
        time_ns = self._clock()
        self.epoch = epoch_of(self.epoch, self._boot, energy_uj)
        meter = MeterIdentity(
            meter_id=self._uuid, kind="gpu", epoch=self.epoch.name, scope="gpu", source="counter"
        )
        reading = Reading(meter, time_ns, energy_uj)
        last, self._last = self._last, reading
        if last is not None and last.meter == meter and implausible(last, reading):
            raise MeterError(
                f"GPU {self._uuid}: energy counter jumped from {last.energy_uj} to {energy_uj} µJ, more than "
                f"{MAX_GPU_POWER_W} W; a known amdsmi fault, the reading is not used"
            )
        return reading


def implausible(last: Reading, now: Reading) -> bool:
    """Whether the mean power between two readings of one epoch is beyond any accelerator."""
    elapsed_ns = max(now.time_ns - last.time_ns, 1_000_000)
    return (now.energy_uj - last.energy_uj) * 1000 > MAX_GPU_POWER_W * elapsed_ns
