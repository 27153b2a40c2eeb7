"""Tenants and their keys: one key opens one tenant, and the ledger keeps no key."""

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from schemas.errors import DataError
from streams.answers.registry import (
    OPERATOR,
    add_tenant,
    disable_tenant,
    find_tenant,
    owner_of,
    rotate_key,
    tenants,
)
from wattledger.commands.tenants import command

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


def test_a_key_opens_its_tenant_and_no_other(database: "Client") -> None:
    acme = add_tenant(database, "acme", price_per_kwh=0.31, currency="EUR")
    boss = add_tenant(database, "boss", role=OPERATOR)
    found = owner_of(database, acme)
    assert found is not None
    assert (found.name, found.role, found.price_per_kwh, found.currency) == ("acme", "tenant", 0.31, "EUR")
    operator = owner_of(database, boss)
    assert operator is not None
    assert operator.role == OPERATOR
    swapped = acme[:16] + boss[16:]
    for wrong in ("", "wl_", acme[:-1], swapped, acme + "x", "wl_000000000000_" + "a" * 43):
        assert owner_of(database, wrong) is None


def test_a_rotated_key_replaces_the_old_one(database: "Client") -> None:
    old = add_tenant(database, "acme")
    new = rotate_key(database, "acme")
    assert owner_of(database, old) is None
    assert owner_of(database, new) is not None


def test_a_disabled_tenant_is_known_and_opens_nothing(database: "Client") -> None:
    key = add_tenant(database, "acme")
    disable_tenant(database, "acme")
    assert owner_of(database, key) is None
    known = find_tenant(database, "acme")
    assert known is not None
    assert not known.enabled


def test_no_key_is_stored_in_any_form_that_opens_anything(database: "Client") -> None:
    secret = add_tenant(database, "acme").split("_", 2)[2]
    stored = json.dumps(database.query("SELECT * FROM tenants").result_rows, default=str)
    assert secret not in stored


@pytest.mark.parametrize(
    ("name", "price", "currency"),
    [
        ("", 0, ""),
        (" acme", 0, ""),
        ("a\nb", 0, ""),
        ("a" * 201, 0, ""),
        ("a", -1, "EUR"),
        ("a", float("nan"), "EUR"),
        ("a", 1, "euro"),
        ("a", 1, ""),
    ],
)
def test_names_and_tariffs_that_cannot_be_are_refused(
    database: "Client", name: str, price: float, currency: str
) -> None:
    with pytest.raises(DataError):
        add_tenant(database, name, price_per_kwh=price, currency=currency)
    assert tenants(database) == []


def test_sql_in_a_name_is_a_name(database: "Client") -> None:
    name = "x'; DROP TABLE ledger; --"
    add_tenant(database, name)
    assert [tenant.name for tenant in tenants(database)] == [name]
    assert database.command("EXISTS TABLE ledger")


def test_the_same_tenant_is_not_added_twice(database: "Client") -> None:
    add_tenant(database, "acme")
    with pytest.raises(DataError, match="exists"):
        add_tenant(database, "acme")


def test_the_command_shows_a_key_once(database: "Client", dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATTLEDGER_CLICKHOUSE", dsn)
    added = CliRunner().invoke(command, ["add", "acme", "--price", "0.3", "--currency", "EUR"])
    key = added.output.split()[0]
    assert owner_of(database, key) is not None
    listed = CliRunner().invoke(command, ["list", "--json"])
    assert json.loads(listed.output)["name"] == "acme"
    assert key.split("_", 2)[2] not in listed.output
