"""Factors of carbon as commands need them: what ships, what meters are known to be off by, and where both go."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from producers.grid.tables import SHIPPED_VERSION, annual_intensities, shipped_factors
from schemas.factors import Factor
from streams.carbon.store import store_factors
from streams.uncertainty.sensors import SENSORS, UNKNOWN

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["meter_factors", "store_shipped"]

HOST_SD: Final = 0.2 / 1.6449
HOST_SOURCE: Final = (
    "wattledger's judgement: ±20 % at 90 %; RAPL sees package and memory, not fans, disks, network"
)
_SINCE_NS: Final = 946_684_800_000_000_000
"""The year 2000: before every ledger."""


def meter_factors() -> Sequence[Factor]:
    """The meters' proportional errors by GPU, as `streams.uncertainty.sensors` has them, and the hosts'."""
    source = "arXiv 2312.02741 (SC 2024): ±5 % at 90 %, half of the variance common to a generation"
    host = Factor("meter_host", "default", _SINCE_NS, HOST_SD, 1.0, HOST_SOURCE, "", "2026", SHIPPED_VERSION)
    of_gpus = [
        Factor(kind, name, _SINCE_NS, value, 1.0, source, "figure cited", "2024", SHIPPED_VERSION)
        for name, sensor in (*SENSORS.items(), ("default", UNKNOWN))
        for kind, value in (("meter_device", sensor.device_sd), ("meter_generation", sensor.generation_sd))
    ]
    return [*of_gpus, host]


def store_shipped(client: "Client") -> int:
    """Put every factor that ships into the database; returns how many. Doing it again changes nothing."""
    intensities = annual_intensities()
    factors = [*shipped_factors(), *meter_factors()]
    store_factors(client, intensities, factors)
    return len(intensities) + len(factors)
