"""`wattledger tenants`: who may ask the API about whose energy, and at which tariff it is priced."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from streams.answers import registry
from streams.ledger.client import connect
from streams.ledger.migrations import require_current
from wattledger import settings

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["command"]


@click.group("tenants")
def command() -> None:
    """Keep the list of tenants: name, tariff, API key.

    Energy is booked to whatever tenant a request names, listed here or not. A listed tenant has a key to the
    API, which shows it its own receipts and usage, and may have a tariff, which prices its reports.

    \b
    Example:
      wattledger tenants add acme --price 0.31 --currency EUR
      wattledger tenants list --json
      wattledger tenants rotate-key acme
      wattledger tenants disable acme
    """


@contextmanager
def _ledger() -> "Iterator[Client]":
    client = connect(settings.load().clickhouse)
    try:
        require_current(client)
        yield client
    finally:
        client.close()


@command.command("add")
@click.argument("name")
@click.option("--price", "price_per_kwh", type=float, default=0.0, help="Tariff per kilowatt-hour.")
@click.option("--currency", default="", help="ISO 4217 code of the tariff, such as EUR.")
@click.option("--operator", is_flag=True, help="An operator's key sees every tenant.")
def add(name: str, price_per_kwh: float, currency: str, operator: bool) -> None:
    """Add tenant NAME and print its API key, which is shown this once."""
    role = registry.OPERATOR if operator else registry.TENANT
    with _ledger() as client:
        key = registry.add_tenant(client, name, price_per_kwh=price_per_kwh, currency=currency, role=role)
    click.echo(key)
    click.echo("Keep it: only its hash is stored. A lost key is replaced with rotate-key.", err=True)


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="For programs: one object per tenant; never a key.")
def list_(as_json: bool) -> None:
    """List the tenants, by name."""
    with _ledger() as client:
        found = registry.tenants(client)
    for tenant in found:
        if as_json:
            shown = {
                "name": tenant.name, "role": tenant.role, "enabled": tenant.enabled,
                "price_per_kwh": tenant.price_per_kwh if tenant.has_tariff else None,
                "currency": tenant.currency or None, "key_id": tenant.key_id,
                "added_at": tenant.added_at.isoformat(), "changed_at": tenant.changed_at.isoformat(),
            }  # fmt: skip
            click.echo(json.dumps(shown))
        else:
            price = f"{tenant.price_per_kwh:g} {tenant.currency}/kWh" if tenant.has_tariff else "no tariff"
            state = "enabled" if tenant.enabled else "disabled"
            click.echo(f"{tenant.name}  {tenant.role}  {state}  {price}  key {tenant.key_id}")
    if not found and not as_json:
        click.echo("No tenant was added yet: wattledger tenants add NAME")


@command.command("disable")
@click.argument("name")
def disable(name: str) -> None:
    """Close the API to tenant NAME; its energy is booked and reported as before."""
    with _ledger() as client:
        registry.disable_tenant(client, name)
    click.echo(f"{name} is disabled; rotate-key opens the API to it again")


@command.command("rotate-key")
@click.argument("name")
def rotate_key(name: str) -> None:
    """Print a new API key for tenant NAME; the old one opens nothing from now on."""
    with _ledger() as client:
        click.echo(registry.rotate_key(client, name))
