"""`wattledger receipt`: one request's energy, signed, with everything needed to compute it again."""

import json
from datetime import UTC, datetime
from pathlib import Path

import click

from schemas.errors import DataError
from streams.answers.receipts import make_receipt
from streams.answers.signing import load_keyring, new_key, public_keys, sign
from streams.ledger.client import connect
from streams.ledger.migrations import require_current
from wattledger import settings as settings_module

__all__ = ["command"]


@click.command("receipt")
@click.argument("request_id", required=False)
@click.option("--tenant", help="Look among this tenant's requests only.")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="File to write; left out, stdout."
)
@click.option("--json", "as_json", is_flag=True, help="Always so: a receipt is JSON.")
@click.option("--new-key", "make_key", is_flag=True, help="Make a signing key, which signs from now on.")
@click.option("--keys", "show_keys", is_flag=True, help="Print the public keys that check receipts.")
def command(
    request_id: str | None,
    tenant: str | None,
    out: Path | None,
    as_json: bool,
    make_key: bool,
    show_keys: bool,
) -> None:
    """Write the signed receipt of REQUEST_ID, with its lineage.

    REQUEST_ID is the client's id or the ledger's (incarnation and ordinal). Keys lie in WATTLEDGER_SIGNING_KEYS;
    `wattledger verify` checks a receipt without a database or a network.

    \b
    Example:
      wattledger receipt --new-key
      wattledger receipt req-7f3a --tenant acme --out receipt.json
      wattledger receipt --keys > keys.json
      wattledger verify receipt.json --keys keys.json --recompute
    """
    del as_json
    settings = settings_module.load()
    directory = Path(settings.signing_keys)
    if make_key:
        click.echo(new_key(directory, datetime.now(UTC)))
        return
    ring = load_keyring(directory)
    if show_keys:
        click.echo(json.dumps(public_keys(ring), indent=2))
        return
    if request_id is None:
        raise DataError("REQUEST_ID is missing: the id that the client knows, or incarnation-ordinal")
    client = connect(settings.clickhouse)
    try:
        require_current(client)
        receipt, lineage = make_receipt(
            client,
            request_id,
            tenant=tenant,
            issuer=settings.issuer,
            base_url=settings.base_url,
            issued_at=datetime.now(UTC),
        )
    finally:
        client.close()
    document = {"jws": sign(ring, receipt), "receipt": receipt, "lineage": lineage}
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    if out is None:
        click.echo(text, nl=False)
    else:
        out.write_text(text, encoding="utf-8")
        click.echo(f"wrote {out}: {receipt['energy_j']:.3f} J in {receipt['batches']} batches", err=True)
