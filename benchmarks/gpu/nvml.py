"""The GPU's own sensors, read only: energy counter, power, temperature, clocks. Nothing is ever set."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

from schemas.errors import MeterError

__all__ = ["Gpu", "binding", "open_gpu"]


def binding() -> ModuleType:
    """`nvidia-ml-py` where it is installed, else this package's own few calls."""
    try:
        return import_module("pynvml")
    except ModuleNotFoundError:
        return import_module("benchmarks.gpu.ctypes_nvml")


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU. Readings that the device does not offer are None, but energy: without it nothing can be measured."""

    library: ModuleType
    handle: Any
    uuid: str
    name: str
    driver: str

    def energy_mj(self) -> int:
        """Cumulative millijoules; MeterError where there is no counter."""
        try:
            return int(self.library.nvmlDeviceGetTotalEnergyConsumption(self.handle))
        except self.library.NVMLError as error:
            raise MeterError(
                f"GPU {self.uuid} ({self.name}): no energy counter ({error}); it takes a Volta or newer GPU that "
                "is not a virtual one"
            ) from error

    def power_w(self) -> float | None:
        """The driver's power over its own averaging time, one second on H100."""
        return self._field_w(self.library.NVML_FI_DEV_POWER_AVERAGE)

    def instant_w(self) -> float | None:
        """The driver's instantaneous power."""
        return self._field_w(self.library.NVML_FI_DEV_POWER_INSTANT)

    def temperature_c(self) -> float | None:
        """Of the die."""
        return self._optional(
            lambda: self.library.nvmlDeviceGetTemperature(self.handle, self.library.NVML_TEMPERATURE_GPU)
        )

    def sm_clock_mhz(self) -> float | None:
        """Clock of the multiprocessors now."""
        return self._optional(
            lambda: self.library.nvmlDeviceGetClockInfo(self.handle, self.library.NVML_CLOCK_SM)
        )

    def power_limit_w(self) -> float | None:
        """What the board may draw."""
        limit = self._optional(lambda: self.library.nvmlDeviceGetEnforcedPowerLimit(self.handle))
        return None if limit is None else limit / 1000.0

    def throttle_reasons(self) -> int | None:
        """NVML's bits: 4 is the power cap, 32 and 64 are heat."""
        bits = self._optional(lambda: self.library.nvmlDeviceGetCurrentClocksThrottleReasons(self.handle))
        return None if bits is None else int(bits)

    def _optional(self, read: Callable[[], Any]) -> float | None:
        try:
            return float(read())
        except self.library.NVMLError:
            return None

    def _field_w(self, field: int) -> float | None:
        with contextlib.suppress(self.library.NVMLError):
            (answer,) = self.library.nvmlDeviceGetFieldValues(self.handle, [field])
            if answer.nvmlReturn == 0:
                return int(answer.value.uiVal) / 1000.0
        return None


def open_gpu(uuid: str | None = None) -> Gpu:
    """The GPU with that UUID, or the only one; MeterError says what is there instead."""
    library = binding()
    try:
        library.nvmlInit()
        count = library.nvmlDeviceGetCount()
        found = [library.nvmlDeviceGetHandleByIndex(index) for index in range(count)]
        by_uuid = {str(library.nvmlDeviceGetUUID(handle)): handle for handle in found}
    except library.NVMLError as error:
        raise MeterError(
            f"NVML cannot be opened ({error}): the measurement needs an NVIDIA driver and libnvidia-ml.so.1 on "
            "the library path; `nvidia-smi` there says more"
        ) from error
    if uuid is None and len(by_uuid) == 1:
        uuid = next(iter(by_uuid))
    if uuid not in by_uuid:
        raise MeterError(
            f"GPU {uuid}: there are {', '.join(by_uuid) or 'no GPUs'}; name one of them with --gpu"
        )
    handle = by_uuid[uuid]
    try:
        driver = str(library.nvmlSystemGetDriverVersion())
    except library.NVMLError:
        driver = "unknown"
    return Gpu(library, handle, uuid, str(library.nvmlDeviceGetName(handle)), driver)
