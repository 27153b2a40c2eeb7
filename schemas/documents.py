"""Fields of a JSON document, each of its type and in its range, or refused by name and value."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from schemas.errors import MalformedMessage
from schemas.limits import MAX_TEXT

__all__ = [
    "MAX_DOCUMENT_BYTES",
    "Document",
    "choice",
    "flag",
    "integer",
    "number",
    "numbers",
    "parse",
    "text",
    "texts",
]

Document = Mapping[str, Any]

MAX_DOCUMENT_BYTES: Final = 256 * 1024
"""A descriptor of 1,000 GPUs is 50 kB; what is larger is no side input, and is not parsed."""

_EXACT: Final = 1 << 53
"""Up to here a JSON number written as a float is the integer that it looks like."""


def parse(data: bytes) -> Document:
    """The JSON object in `data`: UTF-8, no key twice, no NaN or infinity."""
    if len(data) > MAX_DOCUMENT_BYTES:
        raise MalformedMessage(f"document: {len(data)} bytes, at most {MAX_DOCUMENT_BYTES} are allowed")
    try:
        found = json.loads(data.decode(), object_pairs_hook=_distinct, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise MalformedMessage(f"document: not JSON ({error})") from error
    if not isinstance(found, dict):
        raise MalformedMessage(f"document: {_shown(found)}; must be a JSON object")
    return found


def text(document: Document, field: str, default: str | None = None) -> str:
    """A string of at most MAX_TEXT characters; one without a default must be there and not be empty."""
    value = _value(document, field, default)
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise _refused(field, value, f"must be a string of at most {MAX_TEXT} characters")
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        raise _refused(field, value, "holds half of a surrogate pair, which is no character")
    if not value and default is None:
        raise _refused(field, value, "must not be empty")
    return value


def choice(document: Document, field: str, choices: Sequence[str]) -> str:
    """One of the strings that this version knows."""
    value = text(document, field)
    if value not in choices:
        raise _refused(field, value, f"must be one of {', '.join(choices)}")
    return value


def integer(document: Document, field: str, least: int, most: int, default: int | None = None) -> int:
    """A whole number from `least` to `most`."""
    value = _value(document, field, default)
    if isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise _refused(field, value, f"must be a whole number from {least} to {most}")
    return value


def number(document: Document, field: str, least: float, most: float) -> float:
    """A finite number from `least` to `most`."""
    return _number(field, _value(document, field, None), least, most)


def numbers(
    field: str, values: object, least: float = -math.inf, most: float = math.inf
) -> tuple[float, ...]:
    """A list of finite numbers, each from `least` to `most`."""
    if not isinstance(values, list):
        raise _refused(field, values, "must be a list of numbers")
    return tuple(_number(f"{field}[{place}]", value, least, most) for place, value in enumerate(values))


def flag(document: Document, field: str) -> bool:
    """True or false."""
    value = _value(document, field, None)
    if not isinstance(value, bool):
        raise _refused(field, value, "must be true or false")
    return value


def texts(document: Document, field: str) -> tuple[str, ...]:
    """A list of distinct strings, not empty."""
    values = _value(document, field, None)
    if not isinstance(values, list) or not values:
        raise _refused(field, values, "must be a list with at least one string")
    found = tuple(
        text({f"{field}[{place}]": value}, f"{field}[{place}]") for place, value in enumerate(values)
    )
    if len(set(found)) != len(found):
        raise _refused(field, values, "must not name the same twice")
    return found


def _number(field: str, value: object, least: float, most: float) -> float:
    good = isinstance(value, int | float) and not isinstance(value, bool)
    # A whole number may be too large for a float: compared, not converted.
    if not good or not least <= value <= most or not abs(value) <= 1e300:  # type: ignore[operator,arg-type]
        limits = "" if math.isinf(least) and math.isinf(most) else f" from {least:g} to {most:g}"
        raise _refused(field, value, f"must be a finite number{limits}")
    return float(value)  # type: ignore[arg-type]


def _value(document: Document, field: str, default: object) -> object:
    if field in document:
        return document[field]
    if default is None:
        raise MalformedMessage(f"{field}: missing")
    return default


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice[:MAX_TEXT]!r} is there twice")
    return found


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON number")


def _shown(value: object) -> str:
    shown = json.dumps(value)
    return shown if len(shown) <= 80 else f"{shown[:80]}…"


def _refused(field: str, value: object, rule: str) -> MalformedMessage:
    return MalformedMessage(f"{field}: {_shown(value)}; {rule}")
