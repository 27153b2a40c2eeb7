"""ISO 8601 times of APIs and files as Unix nanoseconds."""

from datetime import UTC, datetime, timedelta

from schemas.errors import SourceError

__all__ = ["instant_ns"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def instant_ns(text: object, field: str) -> int:
    """Unix nanoseconds of an ISO 8601 time with its offset (or Z); SourceError names the field and the value."""
    try:
        found = datetime.fromisoformat(str(text).strip())
    except ValueError as error:
        raise SourceError(
            f"{field}: {text!r} is no ISO 8601 time; write it like 2026-09-01T10:00:00Z"
        ) from error
    if found.tzinfo is None:
        raise SourceError(f"{field}: {text!r} has no time zone; add Z for UTC, or an offset")
    return (found - _EPOCH) // timedelta(microseconds=1) * 1000
