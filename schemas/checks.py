"""Statements about a message's values, each a MalformedMessage that names field, place, value and rule."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from schemas.errors import MalformedMessage
from schemas.limits import MAX_OFFSET_NS, MAX_TEXT, MAX_TIME_NS

__all__ = [
    "check_block",
    "check_choice",
    "check_count",
    "check_integer",
    "check_period",
    "check_text",
    "check_texts",
    "check_total",
    "refuse_where",
]

Bools = NDArray[np.bool_]
Int64s = NDArray[np.int64]


def refuse_where(bad: Bools, field: str, values: Int64s, rule: str, *, shift: int = 0) -> None:
    """Raise if any of `bad` `(n,)` is true; `values[i + shift]` is what the message shows for entry i."""
    if np.count_nonzero(bad):
        place = int(bad.argmax()) + shift
        raise MalformedMessage(f"{field}[{place}]: {values[place]}; {rule}")


def check_block(fields: Sequence[str], block: Int64s, most: Sequence[int]) -> None:
    """Every column of `block` `(columns, n)` holds numbers from 0 to its own `most`."""
    bad = (block > np.array(most, np.int64)[:, None]) | (block < 0)
    if np.count_nonzero(bad):
        column, place = (int(axis[0]) for axis in bad.nonzero())
        value = block[column, place]
        raise MalformedMessage(f"{fields[column]}[{place}]: {value}; must be from 0 to {most[column]}")


def check_count(field: str, count: int, most: int) -> None:
    """A number of entries is within what a reader allocates for."""
    if count > most:
        raise MalformedMessage(f"{field}: {count} entries, at most {most}; publish smaller frames")


def check_integer(field: str, value: int, least: int, most: int) -> None:
    """`least` ≤ value ≤ `most`."""
    if not least <= value <= most:
        raise MalformedMessage(f"{field}: {value}; must be from {least} to {most}")


def check_choice(field: str, value: str, choices: Sequence[str]) -> None:
    """The value is one that this version knows."""
    if value not in choices:
        raise MalformedMessage(f"{field}: {value[:MAX_TEXT]!r}; must be one of {', '.join(choices)}")


def check_period(start_ns: int, end_ns: int, watermark_ns: int) -> None:
    """0 ≤ start ≤ end, watermark ≤ end, and all within MAX_OFFSET_NS of the start."""
    check_integer("start_ns", start_ns, 0, MAX_TIME_NS)
    check_integer("end_ns", end_ns, start_ns, start_ns + MAX_OFFSET_NS)
    check_integer("watermark_ns", watermark_ns, max(0, start_ns - MAX_OFFSET_NS), end_ns)


def check_total(field: str, stated: int, found: int) -> None:
    """What the message states is what its columns hold."""
    if stated != found:
        raise MalformedMessage(f"{field}: the frame states {stated}, its columns hold {found}")


def _is_plain(text: str) -> bool:
    """Whether there is nothing to look for: a short text of ASCII, as nearly all are."""
    return 0 < len(text) <= MAX_TEXT and text.isascii()


def check_text(field: str, text: str) -> None:
    """An id that must be there, of at most MAX_TEXT characters."""
    if _is_plain(text):
        return
    if not text:
        raise MalformedMessage(f"{field}: empty; every frame names it")
    check_texts(field, (text,))


def check_texts(field: str, texts: Sequence[str]) -> None:
    """Ids or names, each of at most MAX_TEXT characters."""
    longest = max(map(len, texts), default=0)
    if longest <= MAX_TEXT and "".join(texts).isascii():
        return
    if longest > MAX_TEXT:
        place, text = next((i, t) for i, t in enumerate(texts) if len(t) > MAX_TEXT)
        shown = f"{text[:40]}… ({len(text)} characters)"
        raise MalformedMessage(f"{field}[{place}]: {shown}; at most {MAX_TEXT} characters are allowed")
    try:
        "".join(texts).encode()
    except UnicodeEncodeError as error:
        raise MalformedMessage(f"{field}: {error.object!a:.80} holds half of a surrogate pair") from error
