"""NVIDIA GPUs through NVML: one meter per physical GPU, keyed by UUID, never by index, never per MIG slice.

NVML counts millijoules "since the driver was last reloaded"; the counter steps about every 100 ms. Where it
is not supported (before Volta, some vGPUs) power is integrated instead and the readings say so. A GPU that
fails raises MeterError for itself alone: the others are read on.
"""

import contextlib
import logging
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import pynvml

from producers.meters.contract import Clock, MeterIdentity, Reading
from producers.meters.epochs import Epoch, epoch_of
from schemas.errors import MeterError

__all__ = ["NvmlMeter", "NvmlSession"]

log: Final = logging.getLogger(__name__)

MAX_INTEGRATION_GAP_NS: Final = 1_000_000_000
"""Power is averaged over up to 1 s by the driver; across a longer gap it says nothing, and a new epoch
begins."""

REOPEN_EVERY_S: Final = 10.0
"""A lost GPU is found again only by a library opened anew, which costs some 100 ms and everyone's handles."""

UNREADABLE: Final = (pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)
"""The device or the driver will never answer this call: a fact about the hardware, not a fault."""

REMEDIES: Final = {
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: "libnvidia-ml.so.1 is not on the library path: install the NVIDIA "
    "driver, or in a container run with the NVIDIA runtime and NVIDIA_VISIBLE_DEVICES=all, "
    "NVIDIA_DRIVER_CAPABILITIES=utility",
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: "the NVIDIA kernel driver is not loaded: run `nvidia-smi` there",
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: "library and kernel driver differ in version, as after an "
    "upgrade: reboot the node or reload the driver, then restart the agent's container",
    pynvml.NVML_ERROR_NO_PERMISSION: "the agent may not read this GPU: give it /dev/nvidiactl, /dev/nvidia*",
    pynvml.NVML_ERROR_GPU_IS_LOST: "the GPU has fallen off the bus: see `dmesg` for its Xid; its energy is "
    "unknown until it returns",
    pynvml.NVML_ERROR_NOT_FOUND: "the GPU is gone: see `nvidia-smi -L`; it is read again when it returns",
}


def explain(what: str, error: pynvml.NVMLError) -> MeterError:
    """An NVML failure as an error that names the device and the remedy."""
    remedy = REMEDIES.get(error.value, "see `nvidia-smi` on the node")
    return MeterError(f"{what}: NVML says {error}; {remedy}")


class NvmlSession:
    """The library's life: opened once, reopened after a GPU was lost or the driver was reloaded.

    Handles die with the session they came from, so meters ask again when `generation` has moved.
    """

    def __init__(self, reopen_every_s: float = REOPEN_EVERY_S) -> None:
        self.generation = 0
        self._reopen_every_s = reopen_every_s
        self._opened_s = 0.0
        self._open()

    def _open(self) -> None:
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            raise explain("NVML cannot be opened", error) from error
        finally:
            self._opened_s = time.monotonic()
        self.generation += 1

    def recover(self) -> None:
        """Shut the library down and start it anew, unless that was done lately."""
        if time.monotonic() - self._opened_s >= self._reopen_every_s:
            self.close()
            self._open()

    def close(self) -> None:
        """Let the library go; without persistence mode the driver may then unload and reset its counters."""
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()

    def uuids(self) -> list[str]:
        """UUIDs of the physical GPUs that answer; a GPU that does not is logged and left out."""
        try:
            count = pynvml.nvmlDeviceGetCount()
        except pynvml.NVMLError as error:
            raise explain("GPUs cannot be counted", error) from error
        found = []
        for index in range(count):
            try:
                found.append(pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetHandleByIndex(index)))
            except pynvml.NVMLError as error:
                log.warning("%s", explain(f"GPU at index {index}", error))
        return found

    def handle(self, uuid: str) -> Any:
        """NVML's handle of a GPU; NVMLError where it is gone."""
        return pynvml.nvmlDeviceGetHandleByUUID(uuid)

    def parent(self, uuid: str) -> str:
        """The physical GPU behind a UUID: a MIG slice's parent, else the GPU itself."""
        try:
            handle = self.handle(uuid)
            if uuid.startswith("MIG-"):
                handle = pynvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle)
            found: str = pynvml.nvmlDeviceGetUUID(handle)
        except pynvml.NVMLError as error:
            raise explain(f"GPU {uuid}", error) from error
        return found

    def processes(self, uuid: str) -> frozenset[int] | None:
        """Process ids that compute on a GPU, as the node numbers them; None where NVML does not tell."""
        try:
            listed = pynvml.nvmlDeviceGetComputeRunningProcesses(self.handle(uuid))
        except pynvml.NVMLError:
            return None
        return frozenset(process.pid for process in listed)

    def name(self, uuid: str) -> str:
        """The GPU's product name, such as `NVIDIA H100 80GB HBM3`."""
        try:
            found: str = pynvml.nvmlDeviceGetName(self.handle(uuid))
        except pynvml.NVMLError as error:
            raise explain(f"GPU {uuid}", error) from error
        return found


class NvmlMeter:
    """One physical GPU. `last` is the epoch as the agent kept it, so that a restart of the agent loses
    nothing.
    """

    def __init__(
        self,
        session: NvmlSession,
        uuid: str,
        clock: Clock,
        *,
        boot: str,
        life: str,
        last: Epoch | None = None,
    ) -> None:
        self._session = session
        self._uuid = uuid
        self._clock = clock
        self._boot = boot
        self._life = life
        self._epoch = last
        self._latest_uj = 0
        self._identity = MeterIdentity(meter_id=uuid, kind="gpu", epoch="", scope="gpu", source="counter")
        self._generation = 0
        self._handle: Any = None
        self._failed = False
        self._counts = True
        self._scope = "gpu"
        self._integral = PowerIntegral(life)

    @property
    def meter_id(self) -> str:
        """The GPU's UUID."""
        return self._uuid

    @property
    def epoch(self) -> Epoch | None:
        """The counter's epoch with its latest reading; None before the first, and without a counter."""
        return self._epoch and replace(self._epoch, energy_uj=max(self._latest_uj, self._epoch.energy_uj))

    def read(self) -> Reading:
        """The energy counter now; see the contract."""
        try:
            self._attach()
            reading = self._counter() if self._counts else self._integrated()
        except pynvml.NVMLError as error:
            self._handle = None
            self._failed = True
            raise explain(f"GPU {self._uuid}", error) from error
        self._failed = False
        return reading

    def _attach(self) -> None:
        if self._failed:
            self._session.recover()
        if self._handle is not None and self._generation == self._session.generation:
            return
        self._handle = self._session.handle(self._uuid)
        self._generation = self._session.generation
        self._counts = supported(pynvml.nvmlDeviceGetTotalEnergyConsumption, self._handle)
        self._scope = power_scope(self._handle)

    def _counter(self) -> Reading:
        energy_uj = pynvml.nvmlDeviceGetTotalEnergyConsumption(self._handle) * 1000
        time_ns = self._clock()
        # Several times a second per GPU: an epoch is only thought about when there can be a new one.
        if energy_uj < self._latest_uj or not self._identity.epoch:
            self._epoch = epoch_of(self.epoch, self._boot, energy_uj)
            self._identity = self._identified("counter", self._epoch.name)
        self._latest_uj = energy_uj
        return Reading(self._identity, time_ns, energy_uj)

    def _integrated(self) -> Reading:
        power_mw = power_of(self._handle, self._scope)
        time_ns = self._clock()
        energy_uj = self._integral.add(time_ns, power_mw)
        return Reading(self._identified("integrated", self._integral.epoch), time_ns, energy_uj)

    def _identified(self, source: str, epoch: str) -> MeterIdentity:
        return MeterIdentity(meter_id=self._uuid, kind="gpu", epoch=epoch, scope=self._scope, source=source)


class PowerIntegral:
    """Energy as the integral of power over time, by trapezia between readings, in exact integers."""

    def __init__(self, life: str) -> None:
        self._life = life
        self._number = 0
        self._twice_pj = 0
        self._last: tuple[int, int] | None = None

    @property
    def epoch(self) -> str:
        """The integral's own epoch: it starts with the agent and after every gap."""
        return f"{self._life}-{self._number}"

    def add(self, time_ns: int, power_mw: int) -> int:
        """Take one power reading; returns cumulative microjoules (mW x ns = pJ)."""
        if self._last is not None:
            elapsed_ns = time_ns - self._last[0]
            if elapsed_ns > MAX_INTEGRATION_GAP_NS:
                self._number += 1
                self._twice_pj = 0
            else:
                self._twice_pj += (self._last[1] + power_mw) * elapsed_ns
        self._last = (time_ns, power_mw)
        return self._twice_pj // 2_000_000


def supported(call: Any, handle: Any) -> bool:
    """Whether the hardware and the driver know a call; other failures are raised."""
    try:
        call(handle)
    except pynvml.NVMLError as error:
        if error.value in UNREADABLE:
            return False
        raise
    return True


def power_scope(handle: Any) -> str:
    """`gpu`, or `module` where only the whole superchip (Grace CPU and GPU) has a power reading."""
    if field_power_mw(handle, pynvml.NVML_POWER_SCOPE_GPU) is not None:
        return "gpu"
    if field_power_mw(handle, pynvml.NVML_POWER_SCOPE_MODULE) is not None:
        return "module"
    return "gpu"


def power_of(handle: Any, scope: str) -> int:
    """Power in milliwatts of the GPU, or of the module where that is what is measured."""
    if scope == "module":
        module = field_power_mw(handle, pynvml.NVML_POWER_SCOPE_MODULE)
        if module is not None:
            return module
    power_mw: int = pynvml.nvmlDeviceGetPowerUsage(handle)
    return power_mw


def field_power_mw(handle: Any, scope: int) -> int | None:
    """The driver's averaged power at a scope; None where that scope is not measured."""
    fields: Iterator[Any]
    try:
        fields = iter(pynvml.nvmlDeviceGetFieldValues(handle, [(pynvml.NVML_FI_DEV_POWER_AVERAGE, scope)]))
    except pynvml.NVMLError as error:
        if error.value in UNREADABLE:
            return None
        raise
    field = next(fields)
    # Each field has a status of its own; the call succeeds although the field did not.
    return int(field.value.uiVal) if field.nvmlReturn == pynvml.NVML_SUCCESS else None
