"""The topics, as `schemas/topics/*.yaml` declares them: one file each, read once.

ITERATIONS, ENERGY, LOADS          what happened; co-partitioned by metering group
ENGINES, MODELS, POLICIES, GRID    versioned facts that batches are booked with; compacted
DEAD_LETTERS                       what could not be booked
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import yaml

__all__ = [
    "DEAD_LETTERS",
    "ENERGY",
    "ENGINES",
    "GRID",
    "ITERATIONS",
    "LOADS",
    "MODELS",
    "POLICIES",
    "TOPICS",
    "Topic",
]

ITERATIONS: Final = "wattledger.iterations.v1"
ENERGY: Final = "wattledger.energy.v1"
LOADS: Final = "wattledger.loads.v1"
ENGINES: Final = "wattledger.engines.v1"
MODELS: Final = "wattledger.models.v1"
POLICIES: Final = "wattledger.policies.v1"
GRID: Final = "wattledger.grid.v1"
DEAD_LETTERS: Final = "wattledger.dead-letters.v1"

_ORDER: Final = (ITERATIONS, ENERGY, LOADS, ENGINES, MODELS, POLICIES, GRID, DEAD_LETTERS)


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic's declaration."""

    name: str
    title: str
    description: str
    owner: str
    """Who writes to it."""
    key: str
    partitions: int
    """In production; a small installation may have fewer, the co-partitioned topics all alike."""
    co_partitioned: bool
    """A worker that is given partition p of one must be given p of the others."""
    config: Mapping[str, str]
    """The broker's topic settings, as it names and prints them."""
    message: Mapping[str, Any]
    """Name, content type and format (`protobuf`, `json`, `bytes`), with the schema or where it is."""
    examples: Sequence[Mapping[str, Any]]

    @property
    def retention_ms(self) -> int:
        """How long messages stay; -1 for ever, as compacted topics do."""
        return int(self.config.get("retention.ms", "-1"))


def _load(path: Path) -> Topic:
    declared = yaml.safe_load(path.read_text(encoding="utf-8"))
    config = {name: str(value) for name, value in declared.pop("config").items()}
    return Topic(config=MappingProxyType(config), **declared)


def _load_all() -> tuple[Topic, ...]:
    found = {topic.name: topic for topic in map(_load, Path(__file__).with_name("topics").glob("*.yaml"))}
    return tuple(found[name] for name in _ORDER)


TOPICS: Final = _load_all()
"""All topics; those that carry events first."""
