"""Roles and row policies on a ClickHouse server: who writes the ledger, who reads it, and what a tenant sees.

Users are the server's own affair: give them one of these roles. A tenant's role sees its own rows and nothing of
anybody else's, whatever it asks: the server adds the policy's condition to every read of the table.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from clickhouse_connect.driver.exceptions import ClickHouseError

from schemas.errors import ConfigurationError, MigrationError

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["FILTERS", "Access", "apply_access", "tenant_filters"]

MIGRATOR: Final = "migrator"
WRITER: Final = "writer"
READER: Final = "reader"

FILTERS: Final = {
    "ledger": "tenant = {tenant}",
    "transfers": "tenant = {tenant}",
    "tenant_hours": "tenant = {tenant}",
    "statements": "tenant = {tenant}",
    # The manifest says which rows count; a tenant sees that of the batches it has a part in.
    "batches": "batch_id IN (SELECT batch_id FROM {database}.ledger WHERE tenant = {tenant})",
}
"""By table: which rows are a tenant's. What is not here a tenant cannot read at all."""
MANIFEST: Final = (
    "batch_id", "revision", "inputs", "group_id", "start_ns", "end_ns", "event_time", "closed_by", "stored_at",
    "version",
)  # fmt: skip
"""Of `batches` a tenant reads what resolves revisions, and no figure of what others drew beside it."""
OPEN: Final = ("rollup_runs",)
"""Tables without a tenant's data that views over the above need."""
VIEWS: Final = ("tenant_hourly",)
"""Views over these tables only."""


@dataclass(frozen=True, slots=True)
class Access:
    """What is to be granted on one database."""

    database: str
    tenants: Sequence[str] = ()
    cluster: str | None = None

    def statements(self) -> Iterator[str]:
        """Every statement, in order; each may run again. Raises ConfigurationError for an odd name."""
        on_cluster = f" ON CLUSTER `{_plain(self.cluster)}`" if self.cluster else ""
        everything = f"`{_plain(self.database)}`.*"
        for role in (MIGRATOR, WRITER, READER):
            yield f"CREATE ROLE IF NOT EXISTS {self.role(role)}{on_cluster}"
        ddl = "SELECT, INSERT, ALTER, CREATE TABLE, CREATE VIEW, DROP TABLE, DROP VIEW, TRUNCATE, OPTIMIZE"
        yield f"GRANT{on_cluster} {ddl} ON {everything} TO {self.role(MIGRATOR)}"
        yield f"GRANT{on_cluster} SELECT, INSERT ON {everything} TO {self.role(WRITER)}"
        yield f"GRANT{on_cluster} SELECT ON {everything} TO {self.role(READER)}"
        staff = ", ".join(self.role(role) for role in (MIGRATOR, WRITER, READER))
        for table in FILTERS:
            # A table with any policy shows nothing to whom none applies.
            yield (
                f"CREATE ROW POLICY IF NOT EXISTS `all rows`{on_cluster} ON {self._table(table)} "
                f"FOR SELECT USING 1 TO {staff}"
            )
        for tenant in self.tenants:
            yield from self._tenant(tenant, on_cluster)

    def role(self, name: str) -> str:
        """A role's name, quoted."""
        return f"`{_plain(self.database)} {_plain(name)}`"

    def _tenant(self, tenant: str, on_cluster: str) -> Iterator[str]:
        role = self.role(f"tenant {tenant}")
        yield f"CREATE ROLE IF NOT EXISTS {role}{on_cluster}"
        for table, condition in tenant_filters(self.database, tenant).items():
            columns = f"({', '.join(MANIFEST)})" if table == "batches" else ""
            yield f"GRANT{on_cluster} SELECT{columns} ON {self._table(table)} TO {role}"
            yield (
                f"CREATE ROW POLICY IF NOT EXISTS `tenant {_plain(tenant)}`{on_cluster} ON {self._table(table)} "
                f"FOR SELECT USING {condition} TO {role}"
            )
        for table in (*OPEN, *VIEWS):
            yield f"GRANT{on_cluster} SELECT ON {self._table(table)} TO {role}"

    def _table(self, name: str) -> str:
        return f"`{_plain(self.database)}`.`{name}`"


def tenant_filters(database: str, tenant: str) -> dict[str, str]:
    """By table: the condition that a tenant's reads are given."""
    literal = "'" + tenant.replace("\\", "\\\\").replace("'", "\\'") + "'"
    quoted = f"`{_plain(database)}`"
    return {table: rule.format(tenant=literal, database=quoted) for table, rule in FILTERS.items()}


def apply_access(client: "Client", access: Access) -> int:
    """Run every statement; returns how many. Raises MigrationError, naming the statement that failed."""
    statements = list(access.statements())
    for statement in statements:
        try:
            client.command(statement)
        except ClickHouseError as error:
            said = str(error).splitlines()[0][:300]
            raise MigrationError(
                f"{statement!r} failed: {said}; this needs a user with access management on a server "
                "(the embedded database has no users)"
            ) from error
    return len(statements)


def _plain(name: str) -> str:
    """`name`, if it can stand between backticks."""
    if not name or "`" in name or "\\" in name or "\n" in name:
        raise ConfigurationError(
            f"{name!r} cannot be the name of a role: no backtick, backslash or line break"
        )
    return name
