"""Factors of carbon as commands need them: what ships, what meters are known to be off by, and where both go."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from producers.grid.tables import SHIPPED_VERSION, annual_intensities, shipped_factors
from schemas.factors import Factor
from streams.carbon.store import store_factors
from streams.uncertainty.sensors import SENSORS, UNKNOWN

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["meter_factors", "store_shipped"]


def meter_factors() -> Sequence[Factor]:
    """The meters' proportional errors by GPU, as `streams.uncertainty.sensors` has them."""
    source = "arXiv 2312.02741 (SC 2024): ±5 % at 90 %, half of the variance common to a generation"
    return [
        Factor(
            kind, name, 946_684_800_000_000_000, value, 1.0, source, "figure cited", "2024", SHIPPED_VERSION
        )
        for name, sensor in (*SENSORS.items(), ("default", UNKNOWN))
        for kind, value in (
            ("meter_device", sensor.device_sd),
            ("meter_generation", sensor.generation_sd),
        )
    ]


def store_shipped(client: "Client") -> int:
    """Put every factor that ships into the database; returns how many. Doing it again changes nothing."""
    intensities = annual_intensities()
    factors = [*shipped_factors(), *meter_factors()]
    store_factors(client, intensities, factors)
    return len(intensities) + len(factors)
