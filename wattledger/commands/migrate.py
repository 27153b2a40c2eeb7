"""`wattledger migrate`: bring the database to this version's schema, or say what it lacks."""

from typing import Final

import click

from streams.ledger.client import connect
from streams.ledger.migrations import Deployment, plan, status, up
from wattledger import settings

__all__ = ["command"]

ACTIONS: Final = ("up", "status")


@click.command("migrate")
@click.argument("action", type=click.Choice(ACTIONS), default="up")
@click.option("--dry-run", is_flag=True, help="Print the statements that `up` would run; change nothing.")
@click.pass_context
def command(ctx: click.Context, action: str, dry_run: bool) -> None:
    """Bring the database to this version's schema (up), or say what it has and lacks (status).

    The database is WATTLEDGER_CLICKHOUSE; it is created if absent. With WATTLEDGER_CLICKHOUSE_CLUSTER its
    tables are replicated on that cluster. `status` exits 1 where a migration is pending or a table differs
    from what its last migration left.

    \b
    Example:
      WATTLEDGER_CLICKHOUSE=https://user:password@clickhouse:8443 wattledger migrate --dry-run
      WATTLEDGER_CLICKHOUSE=https://user:password@clickhouse:8443 wattledger migrate up
      wattledger migrate status
    """
    chosen = settings.load()
    deployment = Deployment(chosen.clickhouse_cluster)
    client = connect(chosen.clickhouse)
    try:
        if dry_run:
            for statement in plan(client, deployment):
                click.echo(f"{statement};\n")
        elif action == "status":
            found = status(client)
            for migration in found.applied:
                click.echo(f"applied  {migration.name}")
            for migration in found.pending:
                click.echo(f"pending  {migration.name}")
            for difference in found.drift:
                click.echo(f"drift    {difference}")
            ctx.exit(1 if found.pending or found.drift else 0)
        else:
            applied = up(client, deployment)
            for migration in applied:
                click.echo(f"applied  {migration.name}")
            if not applied:
                click.echo("nothing to do: the database has this version's schema")
    finally:
        client.close()
