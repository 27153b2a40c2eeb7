"""The few NVML calls of a run straight through ctypes, for machines that have the driver but not `nvidia-ml-py`.

Function names, arguments and constants are the binding's own, so that either module can stand in for the other.
"""

import ctypes
from typing import Any, Final

__all__ = [
    "NVML_CLOCK_SM",
    "NVML_FI_DEV_POWER_AVERAGE",
    "NVML_FI_DEV_POWER_INSTANT",
    "NVML_TEMPERATURE_GPU",
    "NVMLError",
]

NVML_SUCCESS: Final = 0
NVML_TEMPERATURE_GPU: Final = 0
NVML_CLOCK_SM: Final = 1
NVML_FI_DEV_POWER_AVERAGE: Final = 185
NVML_FI_DEV_POWER_INSTANT: Final = 186
_FUNCTION_NOT_FOUND: Final = 13
_LIBRARY_NOT_FOUND: Final = 12
_TEXT: Final = 96


class NVMLError(Exception):
    """A call that failed; `value` is NVML's status."""

    def __init__(self, value: int) -> None:
        super().__init__(f"NVML status {value}")
        self.value = value


class _Field(ctypes.Structure):
    """nvmlFieldValue_t."""

    _fields_ = (
        ("fieldId", ctypes.c_uint),
        ("scopeId", ctypes.c_uint),
        ("timestamp", ctypes.c_longlong),
        ("latencyUsec", ctypes.c_longlong),
        ("valueType", ctypes.c_uint),
        ("nvmlReturn", ctypes.c_uint),
        ("value", ctypes.c_ulonglong),
    )


class _Value:
    """A field's value by the name that the binding gives it."""

    def __init__(self, raw: int) -> None:
        self.uiVal = raw & 0xFFFFFFFF


class _Answer:
    """One field with its own status."""

    def __init__(self, field: _Field) -> None:
        self.nvmlReturn = int(field.nvmlReturn)
        self.value = _Value(int(field.value))


def _call(name: str, *arguments: Any) -> None:
    try:
        function = getattr(ctypes.CDLL("libnvidia-ml.so.1"), name)
    except OSError as error:
        raise NVMLError(_LIBRARY_NOT_FOUND) from error
    except AttributeError as error:
        raise NVMLError(_FUNCTION_NOT_FOUND) from error
    status = int(function(*arguments))
    if status != NVML_SUCCESS:
        raise NVMLError(status)


def _number(name: str, device: Any, kind: Any, *between: Any) -> int:
    value = kind()
    _call(name, device, *between, ctypes.byref(value))
    return int(value.value)


def _text(name: str, *before: Any) -> str:
    text = ctypes.create_string_buffer(_TEXT)
    _call(name, *before, text, ctypes.c_uint(_TEXT))
    return text.value.decode()


def nvmlInit() -> None:  # noqa: N802
    _call("nvmlInitWithFlags", ctypes.c_uint(0))


def nvmlShutdown() -> None:  # noqa: N802
    _call("nvmlShutdown")


def nvmlSystemGetDriverVersion() -> str:  # noqa: N802
    return _text("nvmlSystemGetDriverVersion")


def nvmlDeviceGetCount() -> int:  # noqa: N802
    count = ctypes.c_uint()
    _call("nvmlDeviceGetCount_v2", ctypes.byref(count))
    return int(count.value)


def nvmlDeviceGetHandleByIndex(index: int) -> Any:  # noqa: N802
    handle = ctypes.c_void_p()
    _call("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(index), ctypes.byref(handle))
    return handle


def nvmlDeviceGetUUID(device: Any) -> str:  # noqa: N802
    return _text("nvmlDeviceGetUUID", device)


def nvmlDeviceGetName(device: Any) -> str:  # noqa: N802
    return _text("nvmlDeviceGetName", device)


def nvmlDeviceGetTotalEnergyConsumption(device: Any) -> int:  # noqa: N802
    return _number("nvmlDeviceGetTotalEnergyConsumption", device, ctypes.c_ulonglong)


def nvmlDeviceGetTemperature(device: Any, sensor: int) -> int:  # noqa: N802
    return _number("nvmlDeviceGetTemperature", device, ctypes.c_uint, ctypes.c_uint(sensor))


def nvmlDeviceGetClockInfo(device: Any, clock: int) -> int:  # noqa: N802
    return _number("nvmlDeviceGetClockInfo", device, ctypes.c_uint, ctypes.c_uint(clock))


def nvmlDeviceGetEnforcedPowerLimit(device: Any) -> int:  # noqa: N802
    return _number("nvmlDeviceGetEnforcedPowerLimit", device, ctypes.c_uint)


def nvmlDeviceGetCurrentClocksThrottleReasons(device: Any) -> int:  # noqa: N802
    return _number("nvmlDeviceGetCurrentClocksThrottleReasons", device, ctypes.c_ulonglong)


def nvmlDeviceGetFieldValues(device: Any, fields: list[int]) -> list[_Answer]:  # noqa: N802
    asked = (_Field * len(fields))(*(_Field(fieldId=field) for field in fields))
    _call("nvmlDeviceGetFieldValues", device, ctypes.c_int(len(fields)), asked)
    return [_Answer(field) for field in asked]
