"""Writes docs/licences.md, every package that an installation brings along: `python -m tools.licences`.

From the lock file, by extra, and from the packages' own metadata. Development tools are not listed.
"""

import importlib.metadata
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any, Final, cast

__all__ = ["DOCUMENT", "EXTRAS", "Package", "document", "licence_of", "shipped"]

ROOT: Final = Path(__file__).parent.parent
DOCUMENT: Final = ROOT / "docs" / "licences.md"
EXTRAS: Final = ("agent", "worker", "reports", "api", "otel")
"""What images and users install; the rest is for development."""
ELSEWHERE: Final = ("win32", "cygwin", "emscripten", "Windows", "PyPy")
"""Markers of platforms that wattledger does not run on."""

SPDX: Final = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD",
    "MIT License": "MIT",
    "ISC License (ISCL)": "ISC",
    "Python Software Foundation License": "PSF-2.0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
}
"""Of the classifiers that older packages have instead of an expression."""

HEAD: Final = """\
# Licences of what is installed

Written by `make generate` from `uv.lock` and the packages' own metadata; a test compares it with the lock.
wattledger itself is Apache-2.0. Nothing here asks for the source of what uses it: no GPL, no AGPL, no SSPL.

| package | version | licence | in |
|---|---|---|---|
"""


@dataclass(frozen=True, slots=True)
class Package:
    """One locked package."""

    name: str
    version: str
    extras: tuple[str, ...]
    """Which bring it along; `base` for every installation."""


def shipped() -> list[Package]:
    """Every package of the base and of EXTRAS, dependencies of dependencies included."""
    locked = {one["name"]: one for one in tomllib.loads((ROOT / "uv.lock").read_text())["package"]}
    own = locked["wattledger"]
    roots = {"base": own["dependencies"], **{extra: own["optional-dependencies"][extra] for extra in EXTRAS}}
    found: dict[str, list[str]] = {}
    for extra, wanted in roots.items():
        for name in _closure(locked, wanted):
            found.setdefault(name, []).append(extra)
    return [Package(name, locked[name]["version"], tuple(extras)) for name, extras in sorted(found.items())]


def _closure(locked: dict[str, Any], wanted: list[dict[str, Any]]) -> set[str]:
    seen: set[str] = set()
    todo = list(_needed(wanted))
    while todo:
        name, extras = todo.pop()
        if name not in seen or extras:
            entry = locked[name]
            seen.add(name)
            more = [*entry.get("dependencies", [])] if not extras else []
            for extra in extras:
                more += entry.get("optional-dependencies", {}).get(extra, [])
            todo += [(one, wants) for one, wants in _needed(more) if one not in seen or wants]
            if extras:
                todo.append((name, ()))
                todo += [one for one in _needed(entry.get("dependencies", [])) if one[0] not in seen]
    return seen


def _needed(wanted: list[dict[str, Any]]) -> Iterator[tuple[str, tuple[str, ...]]]:
    for one in wanted:
        if not any(f"'{place}'" in one.get("marker", "") and "==" in one["marker"] for place in ELSEWHERE):
            yield one["name"], tuple(one.get("extra", ()))


def licence_of(name: str) -> str:
    """SPDX expression of an installed package; its own words where it has none. Raises PackageNotFoundError."""
    about = cast("Message", importlib.metadata.metadata(name))
    if expression := about.get("License-Expression"):
        return str(expression)
    named = [
        line.rpartition(" :: ")[2] for line in about.get_all("Classifier") or [] if line.startswith("License")
    ]
    known = sorted({SPDX[one] for one in named if one in SPDX})
    if known:
        return " OR ".join(known)
    words = (about.get("License") or "").strip().splitlines()
    return words[0][:60] if words else "not stated"


def document() -> str:
    """docs/licences.md."""
    lines = [
        f"| {one.name} | {one.version} | {licence_of(one.name)} | {', '.join(one.extras)} |"
        for one in shipped()
    ]
    return HEAD + "\n".join(lines) + "\n"


def rows() -> dict[str, tuple[str, str]]:
    """Name to version and licence, as docs/licences.md has them."""
    lines = DOCUMENT.read_text(encoding="utf-8").partition("|---|---|---|---|")[2]
    found = re.findall(r"^\| ([a-z0-9._-]+) \| ([^ ]+) \| ([^|]+) \|", lines, re.MULTILINE)
    return {name: (version, licence) for name, version, licence in found}


if __name__ == "__main__":
    DOCUMENT.write_text(document(), encoding="utf-8")
