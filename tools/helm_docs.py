"""Writes helm/wattledger/README.md's table of values from the comments of values.yaml: `python -m tools.helm_docs`.

Every value must carry a comment that begins with `# --`; a test checks that, and that the table is what this
program writes.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

__all__ = ["Value", "main", "table", "values"]

CHART: Final = Path(__file__).parents[1] / "helm" / "wattledger"
BEGIN: Final = "<!-- values: written by `make generate` from values.yaml -->"
END: Final = "<!-- end of values -->"


@dataclass(frozen=True, slots=True)
class Value:
    """One value as documented."""

    path: str
    default: Any
    meaning: str


def values(text: str) -> list[Value]:
    """The documented values of a values.yaml, in its order.

    A comment that begins with `# --`, with the lines after it, documents the key that follows; the key's own keys
    are then part of it.
    """
    defaults = yaml.safe_load(text)
    found: list[Value] = []
    parents: list[tuple[int, str]] = []
    comment: list[str] = []
    for line in text.splitlines():
        if said := re.fullmatch(r"\s*# (-- )?(.*)", line):
            if said[1] or comment:
                comment.append(said[2])
            continue
        key = re.match(r"(\s*)([A-Za-z][A-Za-z0-9]*):", line)
        if key is None:
            continue
        depth = len(key[1])
        while parents and parents[-1][0] >= depth:
            parents.pop()
        parents.append((depth, key[2]))
        if comment:
            path = [name for _, name in parents]
            found.append(Value(".".join(path), _at(defaults, path), " ".join(comment)))
            comment = []
    return found


def table(known: list[Value]) -> str:
    """A Markdown table of the values."""
    lines = ["| value | default | meaning |", "|---|---|---|"]
    for one in known:
        default = json.dumps(one.default, ensure_ascii=False).replace("|", "\\|")
        lines.append(f"| `{one.path}` | `{default}` | {one.meaning.replace('|', '/')} |")
    return "\n".join(lines)


def readme(old: str, known: list[Value]) -> str:
    """`old` with its table between the markers written anew."""
    before, rest = old.split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}\n\n{table(known)}\n\n{END}{after}"


def _at(defaults: Any, path: list[str]) -> Any:
    for name in path:
        defaults = defaults[name]
    return defaults


def main() -> None:
    """Write the table."""
    page = CHART / "README.md"
    known = values((CHART / "values.yaml").read_text(encoding="utf-8"))
    page.write_text(readme(page.read_text(encoding="utf-8"), known), encoding="utf-8")


if __name__ == "__main__":
    main()
