"""Asks a vulnerability service about every locked package: `python -m tools.audit [--service osv|pypi]`.

Exit status 0: asked, nothing known. 1: something is known. 2: the service could not be asked, so nothing is known
about anything; that is not the same as 0.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

__all__ = ["AUDITED", "UNASKED", "VULNERABLE", "verdict"]

ROOT: Final = Path(__file__).parent.parent
AUDITED: Final = 0
VULNERABLE: Final = 1
UNASKED: Final = 2


def verdict(done: "subprocess.CompletedProcess[str]", service: str) -> tuple[int, str]:
    """Exit status and what to say, of a run of pip-audit with `--format json`."""
    try:
        found = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        said = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        return UNASKED, f"NOT AUDITED: the service {service!r} could not be asked: {said}"
    asked = [one for one in found if "skip_reason" not in one]
    skipped = [one for one in found if "skip_reason" in one]
    if skipped or not asked:
        names = ", ".join(one["name"] for one in skipped) or "every package"
        return UNASKED, f"NOT AUDITED: {service!r} was not asked about {names}"
    known = [
        f"{one['name']} {one['version']}: {flaw['id']}, fixed in {', '.join(flaw['fix_versions']) or 'no release'}"
        for one in asked
        for flaw in one["vulns"]
    ]
    if known:
        return VULNERABLE, "\n".join([f"{len(known)} known vulnerabilities:", *known])
    return AUDITED, f"audited: {service!r} knows of no vulnerability in {len(asked)} locked packages"


def _run(command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@click.command()
@click.option("--service", type=click.Choice(["osv", "pypi"]), default="osv", show_default=True)
@click.option(
    "--requirements", type=click.Path(exists=True, path_type=Path), help="Instead of the lock file."
)
@click.pass_context
def main(ctx: click.Context, service: str, requirements: Path | None) -> None:
    """Ask about everything in the lock file."""
    with tempfile.TemporaryDirectory() as folder:
        if requirements is None:
            requirements = Path(folder) / "requirements.txt"
            exported = _run(
                [
                    "uv",
                    "export",
                    "--frozen",
                    "--all-extras",
                    "--no-emit-project",
                    "--no-hashes",
                    "-o",
                    str(requirements),
                ]
            )
            if exported.returncode:
                raise click.ClickException(exported.stderr.strip())
        done = _run(
            [sys.executable, "-m", "pip_audit", "--requirement", str(requirements), "--disable-pip", "--no-deps",
             "--vulnerability-service", service, "--progress-spinner", "off", "--format", "json"]
        )  # fmt: skip
    status, said = verdict(done, service)
    click.echo(said, err=status != AUDITED)
    ctx.exit(status)


if __name__ == "__main__":
    main()
