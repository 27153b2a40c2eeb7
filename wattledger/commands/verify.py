"""`wattledger verify`: whether a receipt is its issuer's, unchanged, and its energy follows from its lineage."""

import json
from pathlib import Path
from typing import Any

import click

from schemas.errors import DataError
from streams.answers.recompute import Check, recompute
from streams.answers.signing import Keyring, keyring_of, load_keyring, verified
from wattledger import settings as settings_module

__all__ = ["command"]


@click.command("verify")
@click.argument("file", type=click.Path(dir_okay=False, exists=True, path_type=Path))
@click.option(
    "--keys",
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
    help="The issuer's public keys (its /v1/keys); left out, your own keyring.",
)
@click.option("--issuer", help="Who must have issued it; left out, WATTLEDGER_ISSUER.")
@click.option("--recompute", "again", is_flag=True, help="Compute the energy again from the lineage.")
@click.option("--json", "as_json", is_flag=True, help="For programs: what was checked, as one object.")
@click.pass_context
def command(
    ctx: click.Context, file: Path, keys: Path | None, issuer: str | None, again: bool, as_json: bool
) -> None:
    """Check a receipt offline: signature, issuer, and with --recompute every share, meter and sum.

    Exits 0 if all holds, 1 if something does not, 2 if the file or the keys cannot be read.

    \b
    Example:
      wattledger verify receipt.json --keys keys.json --recompute
    """  # fmt: skip
    settings = settings_module.load()
    document = _read(file)
    ring = _ring(keys, Path(settings.signing_keys))
    try:
        receipt = verified(ring, document["jws"])
        _must_agree(receipt, document, issuer or settings.issuer)
        checks = recompute(receipt, _lineage(document)) if again else []
    except DataError as error:
        _say({"valid": False, "reason": str(error)}, as_json)
        ctx.exit(1)
    failed = [check for check in checks if not check.holds]
    _say(_answer(receipt, checks, failed), as_json)
    ctx.exit(1 if failed else 0)


def _read(file: Path) -> dict[str, Any]:
    text = file.read_text(encoding="utf-8", errors="replace").strip()
    if text.count(".") == 2 and not text.startswith("{"):
        return {"jws": text}
    try:
        document = json.loads(text)
    except ValueError as error:
        raise DataError(f"{file} is neither a receipt file nor a JWS: {error}") from None
    if not isinstance(document, dict) or not isinstance(document.get("jws"), str):
        raise DataError(f"{file} has no field `jws`: it is no receipt of `wattledger receipt`")
    return document


def _ring(keys: Path | None, directory: Path) -> Keyring:
    if keys is None:
        return load_keyring(directory)
    try:
        return keyring_of(json.loads(keys.read_text(encoding="utf-8")))
    except ValueError as error:
        raise DataError(f"{keys} is not JSON: {error}") from None


def _must_agree(receipt: dict[str, Any], document: dict[str, Any], issuer: str) -> None:
    if document.get("receipt", receipt) != receipt:
        raise DataError("the receipt beside the signature is not the signed one: only what is signed counts")
    if receipt.get("issuer") != issuer:
        raise DataError(
            f"issued by {receipt.get('issuer')!r}, not by {issuer!r}: name the issuer with --issuer"
        )


def _lineage(document: dict[str, Any]) -> dict[str, Any]:
    lineage = document.get("lineage")
    if not isinstance(lineage, dict):
        raise DataError("the file has no lineage to recompute from: fetch it from the receipt's lineage_url")
    return lineage


def _answer(receipt: dict[str, Any], checks: list[Check], failed: list[Check]) -> dict[str, Any]:
    return {
        "valid": not failed,
        "request_id": receipt["request_id"],
        "tenant": receipt["tenant"],
        "energy_j": receipt["energy_j"],
        "issued_at": receipt["issued_at"],
        "recomputed": [
            {
                "what": one.what,
                "stated": one.stated,
                "computed": one.computed,
                "holds": one.holds,
                "why": one.why,
            }
            for one in checks
        ],
    }


def _say(answer: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(answer))
        return
    if "reason" in answer:
        click.echo(f"NOT VALID: {answer['reason']}")
        return
    word = "valid" if answer["valid"] else "NOT VALID"
    click.echo(f"{word}: {answer['energy_j']:.6f} J for {answer['request_id']} of {answer['tenant']}")
    for one in answer["recomputed"]:
        computed = "not from here" if one["computed"] is None else f"{one['computed']:.3f}"
        mark = "ok " if one["holds"] else "OFF"
        click.echo(
            f"  {mark} {one['what']}: stated {one['stated']}, computed {computed} µJ {one['why']}".rstrip()
        )
