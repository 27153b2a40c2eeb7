"""Prefix cache of a simulated engine: prompt blocks by id, shared while held, oldest out first."""

from collections import OrderedDict
from collections.abc import Sequence

__all__ = ["PrefixCache"]


class PrefixCache:
    """Blocks of `block_tokens` tokens; a block is held by the requests that use it, else it may be evicted.

    Invariant: `held_tokens` + `idle_tokens` = block_tokens × blocks stored.
    """

    __slots__ = ("_block_tokens", "_holders", "_idle")

    def __init__(self, block_tokens: int) -> None:
        self._block_tokens = block_tokens
        self._holders: dict[int, int] = {}
        self._idle: OrderedDict[int, None] = OrderedDict()

    @property
    def held_tokens(self) -> int:
        """Tokens in blocks that a running request uses."""
        return len(self._holders) * self._block_tokens

    @property
    def idle_tokens(self) -> int:
        """Tokens in blocks that nobody uses: free for the asking."""
        return len(self._idle) * self._block_tokens

    def hits(self, blocks: Sequence[int]) -> int:
        """How many leading `blocks` are stored."""
        for count, block in enumerate(blocks):
            if block not in self._holders and block not in self._idle:
                return count
        return len(blocks)

    def idle_among(self, blocks: Sequence[int]) -> int:
        """How many of `blocks` are stored and held by nobody."""
        return sum(block in self._idle for block in blocks)

    def acquire(self, blocks: Sequence[int]) -> None:
        """Hold stored `blocks`."""
        for block in blocks:
            self._idle.pop(block, None)
            self._holders[block] = self._holders.get(block, 0) + 1

    def insert(self, blocks: Sequence[int]) -> list[int]:
        """Store computed `blocks` and hold them; returns the new ones (the others stay private copies)."""
        new = [block for block in blocks if block not in self._holders and block not in self._idle]
        self.acquire(new)
        return new

    def release(self, blocks: Sequence[int]) -> None:
        """Let go of held `blocks`; the last blocks of a prompt become the first to be evicted."""
        for block in reversed(blocks):
            holders = self._holders[block] - 1
            if holders:
                self._holders[block] = holders
            else:
                del self._holders[block]
                self._idle[block] = None

    def evict(self, tokens: int) -> None:
        """Forget idle blocks, oldest first, until `tokens` tokens or more are gone; there must be as many."""
        for _ in range(-(-tokens // self._block_tokens)):
            self._idle.popitem(last=False)
