"""Asks a source for its zones and publishes what it says to `wattledger.grid.v1`; who fails is asked later."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from producers.grid.contract import Source
from schemas.errors import RateLimited, SourceError
from schemas.side_inputs import GridIntensity

__all__ = ["Polled", "poll"]

log = logging.getLogger(__name__)

Publish = Callable[[Sequence[GridIntensity]], None]


@dataclass(frozen=True, slots=True)
class Polled:
    """What one round brought."""

    published: int
    failures: tuple[str, ...]
    """One line per zone that brought nothing; its rows climb down the ladder meanwhile."""
    wait_s: float
    """At least so long before the next round, by what sources ask."""


def poll(
    source: Source, zones: Iterable[str], publish: Publish, *, from_ns: int, to_ns: int, now_ns: int
) -> Polled:
    """Ask `source` once for each zone. A failure of one zone keeps none of the others back.

    `publish` gets the intensities of one zone at a time and may raise BrokerUnavailable, which ends the round:
    what was published stays, and publishing it again is harmless (a version is the same row).
    """
    published, failures, wait_s = 0, [], 0.0
    for zone in zones:
        try:
            found = source.intensities(zone, from_ns, to_ns, now_ns)
        except SourceError as error:
            log.warning("zone %s: %s", zone, error)
            failures.append(f"{zone}: {error}")
            if isinstance(error, RateLimited):
                wait_s = max(wait_s, error.retry_after_s)
                break  # every further zone would be refused as well
            continue
        publish(found)
        published += len(found)
    return Polled(published, tuple(failures), wait_s)
