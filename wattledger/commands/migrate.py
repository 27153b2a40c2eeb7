"""`wattledger migrate`: bring the database to this version's schema, or say what it lacks."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import click

from streams.ledger.access import Access, apply_access
from streams.ledger.client import DEFAULT_DATABASE, connect
from streams.ledger.migrations import Deployment, Status, plan, status, up
from wattledger import settings

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["command"]

ACTIONS: Final = ("up", "status", "access")


@click.command("migrate")
@click.argument("action", type=click.Choice(ACTIONS), default="up")
@click.option(
    "--dry-run", is_flag=True, help="Print the statements that `up` or `access` would run; change nothing."
)
@click.option("--tenant", "tenants", multiple=True, help="access: a role for this tenant too; repeatable.")
@click.pass_context
def command(ctx: click.Context, action: str, dry_run: bool, tenants: Sequence[str]) -> None:
    """Bring the database to this version's schema (up), or say what it has and lacks (status).

    The database is WATTLEDGER_CLICKHOUSE; it is created if absent. With WATTLEDGER_CLICKHOUSE_CLUSTER its
    tables are replicated on that cluster. `status` exits 1 where a migration is pending or a table differs
    from what its last migration left. `access` creates roles (migrator, writer, reader, one per --tenant) and row
    policies, by which a tenant's role sees its own rows only; give your users these roles (docs/security.md).

    \b
    Example:
      WATTLEDGER_CLICKHOUSE=https://user:password@clickhouse:8443 wattledger migrate --dry-run
      WATTLEDGER_CLICKHOUSE=https://user:password@clickhouse:8443 wattledger migrate up
      wattledger migrate status
      wattledger migrate access --tenant acme --dry-run
    """
    if tenants and action != "access":
        raise click.UsageError("--tenant belongs to `wattledger migrate access`")
    chosen = settings.load()
    deployment = Deployment(chosen.clickhouse_cluster)
    client = connect(chosen.clickhouse)
    try:
        if action == "access":
            access = Access(client.database or DEFAULT_DATABASE, tenants, chosen.clickhouse_cluster)
            _grant(client, access, dry_run=dry_run)
        elif dry_run:
            for statement in plan(client, deployment):
                click.echo(f"{statement};\n")
        elif action == "status":
            ctx.exit(_show(status(client)))
        else:
            applied = up(client, deployment)
            for migration in applied:
                click.echo(f"applied  {migration.name}")
            if not applied:
                click.echo("nothing to do: the database has this version's schema")
    finally:
        client.close()


def _grant(client: "Client", access: Access, *, dry_run: bool) -> None:
    if dry_run:
        for statement in access.statements():
            click.echo(f"{statement};")
    else:
        click.echo(f"ran {apply_access(client, access)} statements")


def _show(found: Status) -> int:
    """Print it; the exit status."""
    for migration in found.applied:
        click.echo(f"applied  {migration.name}")
    for migration in found.pending:
        click.echo(f"pending  {migration.name}")
    for difference in found.drift:
        click.echo(f"drift    {difference}")
    return 1 if found.pending or found.drift else 0
