"""What is measured: grid cells, and every sub-batch of six batches of unlike requests.

A cell is one iteration, repeated. Its rows are (new tokens, context): a decode row computes one token over its
context, a prefill chunk many. Context is what lies in the cache before the iteration, as everywhere in wattledger.
"""

from dataclasses import dataclass, replace
from typing import Final

from benchmarks.gpu.shapes import DENSE, MOE, ModelShape

__all__ = ["BATCHES", "REFERENCE", "Batch", "Cell", "Row", "coalition_cells", "grid_cells", "shrunk"]

Row = tuple[int, int]
"""(new tokens, context tokens)."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One iteration to be measured."""

    name: str
    """Unique; the key of every visit."""
    kind: str
    """grid, coalition or reference."""
    model: str
    rows: tuple[Row, ...]
    batch: str = ""
    """Of a coalition: whose sub-batch it is."""
    mask: int = 0
    """Of a coalition: bit i says whether request i is in."""
    players: int = 0
    """Of a coalition: requests of the whole batch."""

    @property
    def kv_tokens(self) -> int:
        """Cache that the rows need, after the iteration."""
        return sum(new + context for new, context in self.rows)

    @property
    def requests(self) -> tuple[int, ...]:
        """Which request each row is: the same one draws the same tokens and experts in every sub-batch."""
        if self.kind != "coalition":
            return tuple(range(len(self.rows)))
        return tuple(i for i in range(self.players) if self.mask >> i & 1)

    @property
    def new_tokens(self) -> int:
        """Tokens that the iteration computes."""
        return sum(new for new, _ in self.rows)


@dataclass(frozen=True, slots=True)
class Batch:
    """Requests of one iteration whose sub-batches are all measured."""

    name: str
    about: str
    model: str
    rows: tuple[Row, ...]


BATCHES: Final = (
    Batch(
        "decode-8", "decode only, contexts of 200 to 16,000", DENSE.name,
        tuple((1, context) for context in (200, 500, 1000, 2000, 4000, 7000, 11_000, 16_000)),
    ),
    Batch(
        "mixed-8", "seven decode rows and a prefill chunk of 256 tokens", DENSE.name,
        (*((1, context) for context in (300, 800, 1500, 3000, 5000, 8000, 12_000)), (256, 1024)),
    ),
    Batch(
        "ridge-6", "short chunks whose tokens cross the roofline's ridge (200 on H200, 300 on H100)", DENSE.name,
        ((1, 4000), (16, 2000), (32, 0), (64, 500), (96, 1000), (128, 0)),
    ),
    Batch(
        "long-6", "one context of 32,000 beside five of up to 1,500", DENSE.name,
        ((1, 200), (1, 400), (1, 700), (1, 1000), (1, 1500), (1, 32_000)),
    ),
    Batch(
        "moe-6", "mixture of experts: decode rows, drafts and a chunk of 64", MOE.name,
        ((1, 128), (1, 1000), (1, 4000), (1, 12_000), (5, 800), (64, 0)),
    ),
    Batch("alike-6", "six decode rows of 1,000 tokens: every share is a sixth", DENSE.name, ((1, 1000),) * 6),
)  # fmt: skip

REFERENCE: Final = Cell("reference", "reference", DENSE.name, ((1, 2048),) * 32)
"""Measured again and again between the others: its scatter shows the drift of the whole run."""

_BATCH_SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 96, 128, 192, 256)
_CONTEXTS: Final = (128, 512, 2048, 8192, 32_768)
_CHUNKS: Final = (64, 256, 512, 2048)


def grid_cells() -> tuple[Cell, ...]:
    """Decode alone on the whole grid, mixed iterations and lone chunks on a coarser one, and the mixture's."""
    cells = [_grid(DENSE, batch, context, 0) for batch in _BATCH_SIZES for context in _CONTEXTS]
    cells += [
        _grid(DENSE, batch, context, chunk)
        for batch in (1, 8, 32, 128, 256)
        for context in (128, 2048, 8192, 32_768)
        for chunk in _CHUNKS
    ]
    cells += [_grid(DENSE, 0, context, chunk) for context in (0, 4096) for chunk in _CHUNKS]
    cells += [
        _grid(MOE, batch, context, 0)
        for batch in (1, 2, 4, 8, 16, 32, 64, 128, 256)
        for context in (512, 4096)
    ]
    cells += [
        _grid(MOE, batch, context, chunk)
        for batch in (1, 8, 64)
        for context in (512, 4096)
        for chunk in (64, 512)
    ]
    return tuple(cells)


def _grid(shape: ModelShape, batch: int, context: int, chunk: int) -> Cell:
    """`batch` decode rows and, where `chunk` > 0, a prefill chunk, all over the same context."""
    rows = ((1, context),) * batch + (((chunk, context),) if chunk else ())
    return Cell(f"grid/{shape.name}/b{batch}/c{context}/p{chunk}", "grid", shape.name, rows)


def coalition_cells(batch: Batch) -> tuple[Cell, ...]:
    """The 2^n − 1 sub-batches that are not empty, by mask."""
    return tuple(
        Cell(
            name=f"coalition/{batch.name}/{mask}",
            kind="coalition",
            model=batch.model,
            rows=tuple(row for i, row in enumerate(batch.rows) if mask >> i & 1),
            batch=batch.name,
            mask=mask,
            players=len(batch.rows),
        )
        for mask in range(1, 2 ** len(batch.rows))
    )


def shrunk(batch: Batch, model: str, divisor: int) -> Batch:
    """A rehearsal's batch: the same requests with tokens and contexts divided, never below one token."""
    rows = tuple((max(1, new // divisor), context // divisor) for new, context in batch.rows)
    return replace(batch, model=model, rows=rows)
