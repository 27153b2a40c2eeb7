"""Whether a command line is one that `wattledger` has."""

import click

from wattledger.__main__ import cli

__all__ = ["parse"]


def parse(arguments: list[str]) -> click.Context:
    """Parse as the program would, without running anything; click's own error where an argument is unknown."""
    command: click.Command = cli
    context = click.Context(cli, info_name="wattledger")
    left = list(arguments)
    # `wattledger agent` is both a command and a group of them.
    while isinstance(command, click.Group) and not (command.invoke_without_command and not left):
        name = left.pop(0)
        found = command.get_command(context, name)
        assert found is not None, f"there is no command {name!r}"
        command = found
    return command.make_context(" ".join(arguments), left, parent=context)
