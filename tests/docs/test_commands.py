"""Every `wattledger …` command that the documentation names exists, with the options it is given."""

import re
import shlex
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from wattledger.__main__ import cli

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
SHELL = re.compile(r"[|;>&#]|\s\\$")


def commands(text: str) -> list[str]:
    """Command lines in fenced blocks and in backticks, without what a shell does around them."""
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    lines += [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose)]
    found = []
    for line in lines:
        match = re.search(
            r"(?:^|\s)(wattledger(?: .*)?)$", re.split(r"\s#\s|\s\|\s| >> | > ", line.strip())[0]
        )
        if match and "…" not in match[1] and "OPTIONS" not in match[1]:
            found.append(match[1].strip())
    return found


NAMED = sorted(
    {(path.relative_to(ROOT).as_posix(), line) for path in PAGES for line in commands(path.read_text())}
)


def resolved(words: list[str]) -> tuple[click.Command, list[str], list[str]]:
    """The command that the words name, its path, and what it is given."""
    context = click.Context(cli)
    command: click.Command = cli
    path: list[str] = []
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        below = command.get_command(context, words[0])
        assert below is not None, f"{' '.join([*path, words[0]])} is no command"
        path, words, command = [*path, words[0]], words[1:], below
    return command, path, words


def test_the_documentation_names_commands() -> None:
    assert len(NAMED) > 60
    assert any(line.startswith("wattledger doctor --agent") for _, line in NAMED)


@pytest.mark.parametrize(("page", "line"), NAMED)
def test_a_command_in_the_docs_exists_with_its_options(page: str, line: str) -> None:
    words = shlex.split(line)[1:]
    command, path, given = resolved(words)
    options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    options |= {"--help", "-h", "--version"}
    unknown = [word for word in given if word.startswith("--") and word.split("=")[0] not in options]
    assert not unknown, f"{page}: {line}"
    assert HELP(tuple(path)), f"{page}: {line}"


class Helps:
    """Exit status of each command's --help, asked once."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, ...], bool] = {}

    def __call__(self, path: tuple[str, ...]) -> bool:
        if path not in self._known:
            self._known[path] = CliRunner().invoke(cli, [*path, "--help"]).exit_code == 0
        return self._known[path]


HELP = Helps()


@pytest.mark.parametrize(
    "page", [path for path in PAGES if path.parent.name == "operations"], ids=lambda path: path.name
)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        assert target.startswith("http") or (page.parent / target).exists(), target
