"""What a check finds: a named fact, whether it is as it should be, and what to do if not."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Check", "Finding", "Status", "failed", "fine", "skipped", "warned"]


class Status(StrEnum):
    """How a finding is to be read."""

    OK = "ok"
    WARNING = "warning"
    """It works, and something will go wrong."""
    FAILED = "failed"
    SKIPPED = "skipped"
    """It could not be looked at; the detail says why."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One fact about the installation."""

    name: str
    status: Status
    detail: str
    fix: str = ""
    """What to do; empty where nothing is to be done."""


Check = Callable[[], Iterator[Finding]]
"""Looks at one thing. It changes nothing and raises no WattledgerError: what is wrong is a finding."""


def fine(name: str, detail: str) -> Finding:
    """As it should be."""
    return Finding(name, Status.OK, detail)


def warned(name: str, detail: str, fix: str) -> Finding:
    """Works, and something will go wrong."""
    return Finding(name, Status.WARNING, detail, fix)


def failed(name: str, detail: str, fix: str) -> Finding:
    """Does not work."""
    return Finding(name, Status.FAILED, detail, fix)


def skipped(name: str, detail: str) -> Finding:
    """Could not be looked at."""
    return Finding(name, Status.SKIPPED, detail)
