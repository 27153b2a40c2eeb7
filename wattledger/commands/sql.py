"""`wattledger sql`: ask the ledger anything, without being able to change it."""

import sys
from typing import TYPE_CHECKING, Final

import click

from schemas.errors import DataError
from streams.answers.query import ask, views
from streams.ledger.client import connect
from wattledger import settings

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["command"]

FORMATS: Final = {
    "table": "PrettyCompactMonoBlock",
    "vertical": "Vertical",
    "csv": "CSVWithNames",
    "json": "JSONEachRow",
    "markdown": "Markdown",
}


@click.command("sql")
@click.argument("query", required=False)
@click.option(
    "--format", "output_format", type=click.Choice(list(FORMATS)), default="table", show_default=True
)
@click.option("--json", "as_json", is_flag=True, help="For programs: one JSON object per row.")
@click.option("--tables", is_flag=True, help="List what can be asked for, with what it is.")
def command(query: str | None, output_format: str, as_json: bool, tables: bool) -> None:
    """Ask the ledger anything, read-only.

    QUERY is one statement that reads; `-` or a pipe reads it from standard input, and on a terminal without
    QUERY a prompt opens (a statement ends with a semicolon, `exit` or Ctrl-D leaves). docs/sql.md has two
    dozen questions with their queries.

    \b
    Example:
      wattledger sql --tables
      wattledger sql 'DESCRIBE TABLE receipts'
      wattledger sql 'SELECT tenant, sum(energy_uj) / 3.6e9 AS wh FROM tenant_usage GROUP BY tenant'
      echo 'SELECT * FROM books WHERE NOT closes' | wattledger sql --json
    """
    chosen = "JSONEachRow" if as_json else FORMATS[output_format]
    client = connect(settings.load().clickhouse)
    try:
        if tables:
            _list(client)
        elif query is None and sys.stdin.isatty():
            _prompt(client, chosen)
        else:
            _answer(client, sys.stdin.read() if query in (None, "-") else str(query), chosen)
    finally:
        client.close()


def _list(client: "Client") -> None:
    found = views(client)
    width = max((len(name) for name, _ in found), default=0)
    for name, comment in found:
        click.echo(f"{name.ljust(width)}  {comment}")


def _answer(client: "Client", query: str, output_format: str) -> None:
    out = click.get_binary_stream("stdout")
    for piece in ask(client, query, output_format):
        out.write(piece)
    out.flush()


def _prompt(client: "Client", output_format: str) -> None:
    import readline  # noqa: F401 - gives input() its history and line editing

    click.echo("Read-only. A statement ends with ; – `exit` or Ctrl-D leaves.")
    lines: list[str] = []
    while True:
        try:
            line = input("wattledger> " if not lines else "        ..> ")
        except EOFError:
            click.echo()
            return
        except KeyboardInterrupt:
            lines = []
            click.echo()
            continue
        if not lines and line.strip().rstrip(";").lower() in ("exit", "quit"):
            return
        lines.append(line)
        if line.rstrip().endswith(";"):
            try:
                _answer(client, "\n".join(lines), output_format)
            except DataError as error:
                click.echo(f"{error}", err=True)
            lines = []
