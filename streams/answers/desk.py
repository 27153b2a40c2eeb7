"""The one thread that speaks to the ledger for a service: an embedded database wants exactly one."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from streams.ledger.client import connect
from streams.ledger.migrations import require_current

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["Desk"]

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")


class Desk:
    """Opens the ledger on its own thread, asks it one question at a time, closes it there."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        self._client: Client | None = None

    async def open(self) -> None:
        """Connect; raises DatabaseUnavailable or MigrationError, and then nothing is open."""
        await self._run(self._open)

    async def ask(
        self, question: "Callable[Concatenate[Client, Arguments], Answer]", *args: Any, **kwargs: Any
    ) -> Answer:
        """`question(client, ...)`, when its turn comes; raises what it raises."""
        answer: Answer = await self._run(self._ask, question, args, kwargs)
        return answer

    async def close(self) -> None:
        """Close the ledger and end the thread."""
        await self._run(self._close)
        self._thread.shutdown()

    async def _run(self, function: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *args)

    def _open(self) -> None:
        self._client = connect(self._dsn)
        require_current(self._client)

    def _ask(self, question: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        assert self._client is not None, "the desk was not opened"
        return question(self._client, *args, **kwargs)

    def _close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None
