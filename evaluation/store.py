"""Finished pieces of an evaluation, one file each: what was computed before an interruption is not computed again.

A piece is found by the digest of everything that decides it. Files appear whole or not at all.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from schemas.errors import ConfigurationError

__all__ = ["Store", "digest", "write_atomically"]

_FORMAT = 1
"""Raise it when a piece's content or meaning changes: older pieces are then not found."""


@dataclass(frozen=True, slots=True)
class Store:
    """Pieces under one directory."""

    directory: Path

    def piece(self, name: str, inputs: Any, compute: Callable[[], Any]) -> Any:
        """The piece `name` for `inputs` (plain data): read if it is there, else computed and written."""
        path = self.directory / f"{name}-{digest([_FORMAT, name, inputs])[:16]}.json"
        if path.exists():
            return json.loads(path.read_text(encoding="utf-8"))
        value = compute()
        write_atomically(path, json.dumps(value))
        # Read back what was written, so that a resumed run sees the same figures to the last bit.
        return json.loads(path.read_text(encoding="utf-8"))


def digest(value: Any) -> str:
    """SHA-256 of plain data, independent of the order of keys."""
    return sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def write_atomically(path: Path, text: str) -> None:
    """Write a file whole: a reader, or a crash, sees the old one or the new one."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise ConfigurationError(
            f"{path}: cannot be written ({error}); choose a directory you may write to"
        ) from error
