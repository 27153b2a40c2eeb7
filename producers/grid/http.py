"""One HTTP GET with limits of time and size, whose failures are named: the only network code of the pollers."""

import math
import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit

from schemas.errors import RateLimited, SourceError

__all__ = ["http_get"]

TIMEOUT_S: Final = 30.0
MOST_BYTES: Final = 32 * 1024 * 1024
"""A month of fifteen-minute generation by type is 5 MB of XML."""
DEFAULT_WAIT_S: Final = 60.0
"""Where a 429 does not say how long."""
LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")


def http_get(url: str, headers: Mapping[str, str]) -> bytes:
    """The body of a 200 answer; see `contract.Fetch`. The query is never shown, it may hold a token.

    Only https, or http on this machine (a proxy or mirror of one's own): a token must not travel in the clear.
    """
    parts = urlsplit(url)
    where = f"{parts.scheme}://{parts.netloc}{parts.path}"
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
        raise SourceError(
            f"{where}: only https is asked, or http on this machine; a token must not travel in the clear"
        )
    request = urllib.request.Request(url, headers={"User-Agent": "wattledger", **headers})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
            body: bytes = answer.read(MOST_BYTES + 1)
    except urllib.error.HTTPError as error:
        if error.code == 429:
            wait_s = _wait_s(error.headers.get("Retry-After"))
            raise RateLimited(f"{where}: asks to wait {wait_s:g} s (429)", wait_s) from error
        shown = error.read(200).decode("utf-8", "replace").replace("\n", " ")
        raise SourceError(f"{where}: answered {error.code} {error.reason}: {shown!r}") from error
    except (OSError, ValueError) as error:
        raise SourceError(f"{where}: no answer ({error}); check the network and the address") from error
    if len(body) > MOST_BYTES:
        raise SourceError(f"{where}: answered more than {MOST_BYTES >> 20} MB; ask for a shorter period")
    return body


def _wait_s(header: str | None, now: datetime | None = None) -> float:
    """Seconds to wait by a Retry-After header: seconds or a date (RFC 9110); from one second to an hour."""
    if header is None:
        return DEFAULT_WAIT_S
    try:
        seconds = float(header)
    except ValueError:
        try:
            until = parsedate_to_datetime(header)
        except ValueError:
            return DEFAULT_WAIT_S
        seconds = (until - (now or datetime.now(UTC))).total_seconds()
    return min(max(seconds, 1.0), 3600.0) if math.isfinite(seconds) else DEFAULT_WAIT_S
