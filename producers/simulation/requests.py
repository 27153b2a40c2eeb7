"""Requests of a trace as columns: what every loader returns and every simulated engine takes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from schemas.errors import DataError

__all__ = ["MAX_TOKENS", "Requests", "concatenate", "from_columns", "limit_output", "take"]

Int32s = NDArray[np.int32]
Int64s = NDArray[np.int64]

MAX_TOKENS = 16_000_000
"""Longest believable prompt or output: beyond it a record is broken (contexts end near 10 million)."""


@dataclass(frozen=True, slots=True)
class Requests:
    """R requests in order of arrival; build them with `from_columns`, which checks them."""

    arrival_us: Int64s
    """(R,) microseconds from the trace's start, ascending."""
    prompt_tokens: Int32s
    """(R,) at least 1."""
    output_tokens: Int32s
    """(R,) at least 1: the last chunk of a prefill emits the first token."""
    tenants: tuple[str, ...]
    tenant: Int32s
    """(R,) index into `tenants`."""
    client_ids: tuple[str, ...]
    """(R,) the id as the client knows it; clients repeat ids."""
    block_tokens: int
    """Tokens in one prefix block; 0 where the trace says nothing about prefixes."""
    blocks: tuple[tuple[int, ...], ...]
    """(R,) ids of the prompt's leading blocks: equal leading ids share their KV cache."""
    source: str
    """Where they come from, for messages."""
    lines: Int64s
    """(R,) line in `source`; 0 where a request was drawn, not read."""
    columns: tuple[str, str] = ("prompt_tokens", "output_tokens")
    """What `source` calls a prompt's and an output's length, for messages."""

    def __len__(self) -> int:
        """Number of requests."""
        return len(self.arrival_us)

    def where(self, index: int) -> str:
        """`file:line` of a request, or its number where it was drawn."""
        line = int(self.lines[index])
        return f"{self.source}:{line}" if line else f"{self.source}, request {index}"


def from_columns(
    arrival_us: Sequence[int] | Int64s,
    prompt_tokens: Sequence[int] | Int32s,
    output_tokens: Sequence[int] | Int32s,
    *,
    tenants: tuple[str, ...] = ("tenant",),
    tenant: Sequence[int] | Int32s | None = None,
    client_ids: Sequence[str] | None = None,
    block_tokens: int = 0,
    blocks: Sequence[tuple[int, ...]] | None = None,
    source: str = "requests",
    lines: Sequence[int] | Int64s | None = None,
    columns: tuple[str, str] = ("prompt_tokens", "output_tokens"),
) -> Requests:
    """Check columns and make them `Requests`; DataError names the first request that is wrong."""
    count = len(arrival_us)
    requests = Requests(
        arrival_us=np.asarray(arrival_us, np.int64),
        prompt_tokens=np.asarray(prompt_tokens, np.int32),
        output_tokens=np.asarray(output_tokens, np.int32),
        tenants=tenants,
        tenant=np.zeros(count, np.int32) if tenant is None else np.asarray(tenant, np.int32),
        client_ids=tuple(f"r{i}" for i in range(count)) if client_ids is None else tuple(client_ids),
        block_tokens=block_tokens,
        blocks=((),) * count if blocks is None else tuple(blocks),
        source=source,
        lines=np.zeros(count, np.int64) if lines is None else np.asarray(lines, np.int64),
        columns=columns,
    )
    _check(requests)
    return requests


def _check(requests: Requests) -> None:
    for name in ("prompt_tokens", "output_tokens"):
        values: Int32s = getattr(requests, name)
        wrong = np.flatnonzero((values < 1) | (values > MAX_TOKENS))
        if wrong.size:
            i = int(wrong[0])
            raise DataError(
                f"{requests.where(i)}: {name} is {int(values[i])}; it must lie between 1 and {MAX_TOKENS}. "
                "Correct or remove the request"
            )
    if requests.arrival_us.size and requests.arrival_us[0] < 0:
        raise DataError(
            f"{requests.where(0)}: arrival is before the trace's start; shift the times to begin at 0"
        )
    back = np.flatnonzero(np.diff(requests.arrival_us) < 0)
    if back.size:
        i = int(back[0]) + 1
        raise DataError(
            f"{requests.where(i)}: arrival {int(requests.arrival_us[i])} µs is before the one above it "
            f"({int(requests.arrival_us[i - 1])} µs); sort the file by time"
        )


def take(requests: Requests, index: NDArray[np.intp] | Sequence[int]) -> Requests:
    """The requests at `index`, in that order (which must keep the times ascending)."""
    at = np.asarray(index, np.intp)
    chosen = replace(
        requests,
        arrival_us=requests.arrival_us[at],
        prompt_tokens=requests.prompt_tokens[at],
        output_tokens=requests.output_tokens[at],
        tenant=requests.tenant[at],
        client_ids=tuple(requests.client_ids[i] for i in at),
        blocks=tuple(requests.blocks[i] for i in at),
        lines=requests.lines[at],
    )
    _check(chosen)
    return chosen


def concatenate(parts: Sequence[Requests]) -> Requests:
    """Merge requests of several traces by arrival; at most one of them may have prefix blocks."""
    with_blocks = [part for part in parts if part.block_tokens]
    if len(with_blocks) > 1:
        raise DataError(
            f"{' and '.join(part.source for part in with_blocks)}: prefix blocks of two traces cannot share "
            "one cache; give each its own engine"
        )
    tenants = tuple(dict.fromkeys(name for part in parts for name in part.tenants))
    column = {name: i for i, name in enumerate(tenants)}
    arrival = np.concatenate([part.arrival_us for part in parts])
    order = np.argsort(arrival, kind="stable")
    tenant = np.concatenate([np.asarray([column[n] for n in p.tenants], np.int32)[p.tenant] for p in parts])
    client_ids = [name for part in parts for name in part.client_ids]
    blocks = [held for part in parts for held in part.blocks]
    return from_columns(
        arrival[order],
        np.concatenate([part.prompt_tokens for part in parts])[order],
        np.concatenate([part.output_tokens for part in parts])[order],
        tenants=tenants,
        tenant=tenant[order],
        client_ids=[client_ids[i] for i in order],
        block_tokens=with_blocks[0].block_tokens if with_blocks else 0,
        blocks=[blocks[i] for i in order],
        source=" + ".join(part.source for part in parts),
    )


def limit_output(requests: Requests, max_tokens: int) -> Requests:
    """The same requests as if every client had asked for at most `max_tokens` tokens."""
    return replace(requests, output_tokens=np.minimum(requests.output_tokens, max_tokens).astype(np.int32))
