"""Reading the ledger from within the program: rows, or DatabaseUnavailable in one line."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from clickhouse_connect.driver.exceptions import ClickHouseError

from schemas.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["moment", "rows_of"]


def rows_of(client: "Client", query: str, parameters: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
    """The answer's rows. Raises DatabaseUnavailable; asking again is safe."""
    try:
        return client.query(query, parameters=dict(parameters)).result_rows
    except (ClickHouseError, OSError) as error:
        said = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
        raise DatabaseUnavailable(f"the ledger could not be read: {said}") from error


def moment(at_ns: int) -> str:
    """Unix nanoseconds as ClickHouse reads a DateTime64(3, 'UTC')."""
    return datetime.fromtimestamp(at_ns // 1_000_000 / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
