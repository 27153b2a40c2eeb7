"""JSON answers of HTTP APIs: an object with fields of their type, or a SourceError that quotes what came."""

import json
import math
from collections.abc import Mapping
from typing import Any

from schemas.errors import SourceError

__all__ = ["number", "objects", "parse_json"]


def parse_json(body: bytes, where: str) -> Mapping[str, Any]:
    """The JSON object in `body`; HTML, an empty body or another type is a SourceError that shows its beginning."""
    try:
        found = json.loads(body)
    except ValueError as error:
        raise SourceError(f"{where}: answered {_shown(body)}, which is not JSON") from error
    if not isinstance(found, dict):
        raise SourceError(f"{where}: answered {_shown(body)}, which is no JSON object")
    return found


def objects(found: Mapping[str, Any], field: str, where: str) -> list[Mapping[str, Any]]:
    """A list of objects."""
    values = found.get(field)
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise SourceError(f"{where}: {field} is {str(values)[:80]!r}; a list of objects is documented")
    return values


def number(found: Mapping[str, Any], field: str, where: str) -> float:
    """A finite number; null, text and a missing field are refused, never taken as 0."""
    value = found.get(field)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise SourceError(f"{where}: {field} is {value!r}; a number is documented")
    return float(value)


def _shown(body: bytes) -> str:
    text = body[:80].decode("utf-8", "replace").replace("\n", " ")
    return repr(text + ("…" if len(body) > 80 else ""))
