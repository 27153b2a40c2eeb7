"""A run's memory: one JSON object per line, appended and synced, so that a slice goes on where one stopped.

The first line says what run it is; a journal of another run is refused, never mixed. A line that a crash cut short
is the last one, and is dropped.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from schemas.errors import ConfigurationError

__all__ = ["Journal", "open_journal"]

_NAME: Final = "journal.jsonl"


@dataclass(frozen=True, slots=True)
class Journal:
    """Records in the order in which they were made."""

    path: Path
    records: list[dict[str, Any]] = field(default_factory=list)

    def add(self, kind: str, record: Mapping[str, Any]) -> None:
        """Append one record; it is on disk when this returns."""
        entry = {"kind": kind, **record}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.records.append(entry)

    def of(self, kind: str) -> list[dict[str, Any]]:
        """All records of a kind."""
        return [record for record in self.records if record["kind"] == kind]


def open_journal(directory: Path, identity: Mapping[str, Any]) -> Journal:
    """The journal in a directory, begun if there is none; ConfigurationError if it is another run's."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / _NAME
    journal = Journal(path, _read(path))
    if not journal.records:
        path.write_text("", encoding="utf-8")
        journal.add("run", identity)
    begun = {key: value for key, value in journal.records[0].items() if key != "kind"}
    wanted = json.loads(json.dumps(dict(identity)))
    if begun != wanted:
        other = [key for key in {**begun, **wanted} if begun.get(key) != wanted.get(key)]
        raise ConfigurationError(
            f"{path}: was begun with another {', '.join(other)}; give another --journal to begin a new run"
        )
    return journal


def _read(path: Path) -> list[dict[str, Any]]:
    """Whole records; the file is cut after the last of them."""
    if not path.exists():
        return []
    records: list[dict[str, Any]] = []
    whole = 0
    for line in path.read_bytes().splitlines(keepends=True):
        try:
            record = json.loads(line) if line.endswith(b"\n") else None
        except ValueError:
            record = None
        if not isinstance(record, dict):
            break
        records.append(record)
        whole += len(line)
    os.truncate(path, whole)
    return records
