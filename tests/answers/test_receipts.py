"""A receipt says what the ledger booked, tells nothing of others, and cannot be changed unnoticed."""

import copy
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner

from schemas.errors import ConfigurationError, DataError
from streams.answers.lineage import context_document
from streams.answers.receipts import find_requests, make_receipt
from streams.answers.recompute import recompute
from streams.answers.signing import keyring_of, load_keyring, new_key, public_keys, sign, verified
from tests.answers.conftest import Ledger
from wattledger.commands.receipt import command as receipt_command
from wattledger.commands.verify import command as verify_command

SCHEMA = json.loads(
    (Path(__file__).parents[2] / "schemas" / "receipts" / "receipt-v1.schema.json").read_text()
)
NOW = datetime(2026, 9, 2, tzinfo=UTC)


def ids(ledger: Ledger, count: int, order: str = "batches DESC") -> list[tuple[str, str]]:
    """(tenant, request_id) of some requests."""
    rows = ledger.client.query(
        f"SELECT tenant, request_id FROM receipts ORDER BY {order}, request_id LIMIT {count}"
    ).result_rows
    return [(str(tenant), str(request_id)) for tenant, request_id in rows]


def made(ledger: Ledger, request_id: str, tenant: str | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    return make_receipt(
        ledger.client,
        request_id,
        tenant=tenant,
        issuer="wattledger",
        base_url="http://127.0.0.1:8321",
        issued_at=NOW,
    )


@pytest.fixture(scope="module")
def long_request(ledger: Ledger) -> tuple[dict[str, Any], dict[str, Any]]:
    return made(ledger, ids(ledger, 1)[0][1])


def test_a_receipt_is_what_its_schema_says(long_request: tuple[dict[str, Any], dict[str, Any]]) -> None:
    jsonschema.validate(long_request[0], SCHEMA)


def test_every_share_is_recomputed_to_within_a_microjoule(ledger: Ledger) -> None:
    chosen = ids(ledger, 12) + ids(ledger, 12, "cold_start_uj DESC") + ids(ledger, 12, "energy_uj")
    moved_uj = 0
    for tenant, request_id in chosen:
        receipt, lineage = made(ledger, request_id, tenant)
        checks = recompute(receipt, lineage)
        assert [check for check in checks if not check.holds] == []
        assert sum(check.computed is not None for check in checks) >= receipt["batches"] + 2
        moved_uj += receipt["cold_start_uj"]
    assert moved_uj > 0


def test_a_receipt_agrees_with_the_rows_that_were_booked(ledger: Ledger) -> None:
    tenant, request_id = ids(ledger, 1)[0]
    receipt, _ = made(ledger, request_id, tenant)
    booked_uj = ledger.client.command(
        "SELECT sum(energy_uj) FROM current_ledger WHERE account = 'request' "
        f"AND incarnation = '{request_id.rpartition('-')[0]}' AND ordinal = {request_id.rpartition('-')[2]}"
    )
    assert receipt["energy_uj"] == booked_uj
    assert receipt["energy_wh"] == pytest.approx(receipt["energy_j"] / 3600)


def test_no_grams_without_a_factor_on_record(long_request: tuple[dict[str, Any], dict[str, Any]]) -> None:
    assert long_request[0]["carbon_g"] == {"location": None, "market": None}


def test_a_lineage_names_nobody_else(
    ledger: Ledger, long_request: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    receipt, lineage = long_request
    text = json.dumps(lineage)
    others = {tenant for tenant, _ in ids(ledger, 3000)} - {receipt["tenant"]}
    assert len(others) > 10
    assert not [name for name in others if name in text]


def test_totals_of_a_batch_of_few_tenants_are_rounded_and_its_meter_is_left_out(ledger: Ledger) -> None:
    found = ledger.client.query(
        "SELECT line.tenant, concat(line.incarnation, '-', toString(line.ordinal)) FROM current_ledger AS line "
        "INNER JOIN current_batches AS batch ON line.batch_id = batch.batch_id "
        "WHERE line.account = 'request' AND batch.tenants < 3 LIMIT 1"
    ).result_rows
    _, lineage = made(ledger, found[0][1], found[0][0])
    private = [batch for batch in lineage["batches"] if batch["aggregates"] == "rounded"]
    assert private
    for batch in private:
        assert batch["meter"] == []
        assert batch["metered_uj"] is None
        assert batch["batch_total_wh"] == float(f"{batch['batch_total_wh']:.0e}")


def test_every_name_of_a_lineage_has_a_meaning_or_is_a_plain_figure(
    long_request: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    terms = context_document()["@context"]
    assert {"prov", "request_id", "batches", "share_uj", "revisions"} <= set(terms)
    assert {"@context", "id", "type", "request_id", "batches", "cold_start"} == set(long_request[1])


def test_another_tenants_request_looks_like_one_that_does_not_exist(ledger: Ledger) -> None:
    tenant, request_id = ids(ledger, 1)[0]
    with pytest.raises(DataError) as missing:
        made(ledger, "no-such-request", "nobody")
    with pytest.raises(DataError) as foreign:
        made(ledger, request_id, "nobody")
    assert str(foreign.value) == str(missing.value).replace("no-such-request", request_id)
    assert find_requests(ledger.client, request_id, tenant=tenant)


@pytest.mark.parametrize("request_id", ["", "-", "x' OR 1 --", "1-" + "9" * 30, "a-٣", "\x00"])
def test_any_text_is_an_id_that_may_not_exist(ledger: Ledger, request_id: str) -> None:
    assert find_requests(ledger.client, request_id, tenant="yarrow-health") == []


def test_a_clients_repeated_id_is_asked_for_by_the_ledgers_own(ledger: Ledger) -> None:
    repeated = ledger.client.query(
        "SELECT client_request_id FROM receipts GROUP BY client_request_id HAVING count() > 1 LIMIT 1"
    ).result_rows
    assert repeated
    with pytest.raises(DataError, match="names"):
        made(ledger, repeated[0][0])


def test_a_signature_holds_until_a_byte_changes(
    tmp_path: Path, long_request: tuple[dict[str, Any], Any]
) -> None:
    new_key(tmp_path, NOW)
    ring = load_keyring(tmp_path)
    public = keyring_of(json.loads(json.dumps(public_keys(ring))))
    token = sign(ring, long_request[0])
    assert verified(public, token) == long_request[0]
    assert '"d"' not in json.dumps(public_keys(ring))
    head, body, signature = token.split(".")
    other = sign(ring, long_request[0] | {"energy_j": 0.0}).split(".")[1]
    for wrong in (
        f"{head}.{other}.{signature}",
        f"{head}.{body}.{signature[:-4]}AAAA",
        "x",
        "a.b.c",
        f"{head}..{signature}",
    ):
        with pytest.raises(DataError):
            verified(public, wrong)


def test_an_unsigned_token_is_no_receipt(tmp_path: Path) -> None:
    new_key(tmp_path, NOW)
    with pytest.raises(DataError):
        verified(load_keyring(tmp_path), "eyJhbGciOiJub25lIn0.e30.")


def test_keys_rotate_and_old_receipts_still_verify(
    tmp_path: Path, long_request: tuple[dict[str, Any], Any]
) -> None:
    new_key(tmp_path, NOW)
    old = sign(load_keyring(tmp_path), long_request[0])
    newer = new_key(tmp_path, NOW.replace(year=2027))
    ring = load_keyring(tmp_path)
    assert ring.current == newer
    assert verified(ring, old) == long_request[0]
    assert (next(tmp_path.glob("*.jwk")).stat().st_mode & 0o077) == 0


def test_a_key_of_another_issuer_is_named_as_unknown(
    tmp_path: Path, long_request: tuple[dict[str, Any], Any]
) -> None:
    new_key(tmp_path / "a", NOW)
    new_key(tmp_path / "b", NOW)
    token = sign(load_keyring(tmp_path / "a"), long_request[0])
    with pytest.raises(DataError, match="not among the issuer's"):
        verified(load_keyring(tmp_path / "b"), token)


def test_no_key_at_all_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="--new-key"):
        load_keyring(tmp_path)


def test_a_changed_lineage_is_refused(long_request: tuple[dict[str, Any], dict[str, Any]]) -> None:
    receipt, lineage = long_request
    changed = copy.deepcopy(lineage)
    changed["batches"][0]["share_uj"] += 1
    with pytest.raises(DataError, match="hash"):
        recompute(receipt, changed)


def test_the_commands_write_a_receipt_and_check_it_offline(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATTLEDGER_CLICKHOUSE", ledger.dsn)
    monkeypatch.setenv("WATTLEDGER_SIGNING_KEYS", str(tmp_path / "keys"))
    run = CliRunner()
    assert run.invoke(receipt_command, ["--new-key"]).exit_code == 0
    tenant, request_id = ids(ledger, 1)[0]
    file, keys = tmp_path / "receipt.json", tmp_path / "keys.json"
    assert run.invoke(receipt_command, [request_id, "--tenant", tenant, "--out", str(file)]).exit_code == 0
    keys.write_text(run.invoke(receipt_command, ["--keys"]).output)
    monkeypatch.setenv("WATTLEDGER_CLICKHOUSE", "http://127.0.0.1:1")
    checked = run.invoke(verify_command, [str(file), "--keys", str(keys), "--recompute"])
    assert checked.exit_code == 0, checked.output
    assert checked.output.startswith("valid")
    document = json.loads(file.read_text())
    document["receipt"]["energy_j"] = 0.001
    file.write_text(json.dumps(document))
    assert run.invoke(verify_command, [str(file), "--keys", str(keys)]).exit_code == 1
    assert run.invoke(verify_command, [str(file), "--keys", str(keys), "--issuer", "other"]).exit_code == 1
