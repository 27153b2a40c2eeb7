"""Entry point: `wattledger <command>`; each command is imported only when it is asked for."""

import importlib
import sys
from typing import Final

import click

from schemas.errors import WattledgerError
from wattledger.logs import log_error

__all__ = ["main"]

# name → (module, one line for `wattledger --help`): listing commands must not import them,
# so that the node agent needs neither Faust nor ClickHouse.
COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "demo": ("wattledger.commands.demo", "the main job, end to end, on this machine"),
    "agent": ("wattledger.commands.agent", "measure this GPU node and take its engines' frames"),
    "worker": ("wattledger.commands.worker", "book what arrives on the topics"),
    "replay": ("wattledger.commands.replay", "play a trace through simulated engines into Kafka"),
    "topics": ("wattledger.commands.topics", "create the Kafka topics, or check them"),
    "doctor": ("wattledger.commands.doctor", "is this installation well, and if not, what to do"),
    "nodes": ("wattledger.commands.nodes", "keys with which nodes sign, and who may publish what"),
    "migrate": ("wattledger.commands.migrate", "bring the database to the schema this version expects"),
    "evaluate": ("wattledger.commands.evaluate", "judge attribution methods on a trace"),
    "books": ("wattledger.commands.books", "does every joule stand in exactly one account?"),
    "dead-letters": ("wattledger.commands.dead_letters", "what could not be booked, why, and again"),
    "repair": ("wattledger.commands.repair", "restate what came late, from the topics"),
    "sql": ("wattledger.commands.sql", "ask the ledger anything, without being able to change it"),
    "report": ("wattledger.commands.report", "what one tenant drew; statements that never change"),
    "rollup": ("wattledger.commands.rollup", "add closed hours up, so that long periods are quick"),
    "export": ("wattledger.commands.export", "figures for OTLP, Prometheus, SCI, GHG; rows by the million"),
    "receipt": ("wattledger.commands.receipt", "one request's energy, signed, with its lineage"),
    "verify": ("wattledger.commands.verify", "check a receipt offline, and compute it again"),
    "api": ("wattledger.commands.api", "receipts, usage and the page over HTTP"),
    "factors": ("wattledger.commands.factors", "carbon intensity, PUE, water: from files, APIs, what ships"),
    "restate": (
        "wattledger.commands.restate",
        "what corrected factors change, by tenant, before they are stored",
    ),
    "tenants": ("wattledger.commands.tenants", "who has a key to the API, and which tariff"),
}


class LazyGroup(click.Group):
    """A click group that imports a command's module when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command, in the order they are used."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import `cmd_name`'s module and return its `command`."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(COMMANDS[cmd_name][0])
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List commands by their one line, without importing them."""
        del ctx
        rows = [(name, line) for name, (_, line) in COMMANDS.items()]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)


@click.group(
    cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name="wattledger")
def cli() -> None:
    """Book every joule of LLM inference, once, to the request, tenant or idle account that caused it."""


def main() -> None:
    """Run the command line; an error a user can act on is one line and exit code 2."""
    try:
        cli(standalone_mode=True)
    except WattledgerError as error:
        if not log_error(str(error)):
            click.echo(f"wattledger: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
