"""One HTTP GET with limits of time and size, whose failures are named: the only network code of the pollers."""

import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from schemas.errors import RateLimited, SourceError

__all__ = ["http_get"]

TIMEOUT_S: Final = 30.0
MOST_BYTES: Final = 32 * 1024 * 1024
"""A month of fifteen-minute generation by type is 5 MB of XML."""
DEFAULT_WAIT_S: Final = 60.0


def http_get(url: str, headers: Mapping[str, str]) -> bytes:
    """The body of a 200 answer; see `contract.Fetch`. Only https; the query is never shown, it may hold a token."""
    parts = urlsplit(url)
    where = f"{parts.scheme}://{parts.netloc}{parts.path}"
    if parts.scheme != "https":
        raise SourceError(f"{where}: only https is asked; a token must not travel in the clear")
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


def _wait_s(header: str | None) -> float:
    try:
        return min(max(float(header or DEFAULT_WAIT_S), 1.0), 3600.0)
    except ValueError:
        return DEFAULT_WAIT_S
