"""What every source of carbon intensity is to the poller, and what may go wrong with it."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from schemas.side_inputs import GridIntensity

__all__ = ["Fetch", "Source"]


class Fetch(Protocol):
    """One HTTP GET: the body of a 200 answer.

    Raises RateLimited for 429 with what Retry-After says, SourceError for any other status, a time-out, or an
    address that does not answer; never returns an error page.
    """

    def __call__(self, url: str, headers: Mapping[str, str]) -> bytes:
        """The body."""


class Source(Protocol):
    """Carbon intensity of zones; one request at a time, no state between calls."""

    @property
    def name(self) -> str:
        """As rows name it."""

    def intensities(self, zone: str, from_ns: int, to_ns: int, now_ns: int) -> Sequence[GridIntensity]:
        """What is known of `zone` in [from, to), each with validity, lag and whether it is an estimate.

        now_ns: when it was asked; the lag is counted to the source's own time stamp where it gives one, else to
            this. Intervals do not overlap. An empty answer is an answer: the ladder has other rungs.
        Raises SourceError (RateLimited among them) for an answer that is not what the API documents, a zone it
        does not know, or a value outside 0-2,000 g/kWh; nothing is published then. Safe to call again.
        """
