"""Who the tenants are: their tariff, and the key that opens the API to them. A change is a row, never an edit.

A key reads `wl_<id>_<secret>`; the ledger keeps the SHA-256 of the secret only, so a lost key is replaced, not
recovered. Names are those that rows of the ledger carry.
"""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from schemas.errors import DataError

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = [
    "OPERATOR",
    "TENANT",
    "Tenant",
    "add_tenant",
    "disable_tenant",
    "find_tenant",
    "owner_of",
    "rotate_key",
    "tenants",
]

TENANT: Final = "tenant"
OPERATOR: Final = "operator"
COLUMNS: Final = (
    "tenant", "changed_at", "action", "role", "enabled", "price_per_kwh", "currency", "key_id", "key_sha256"
)  # fmt: skip
READ: Final = (
    "SELECT tenant, role, enabled, price_per_kwh, currency, key_id, key_sha256, added_at, changed_at "
    "FROM current_tenants"
)
LONGEST_NAME: Final = 200


@dataclass(frozen=True, slots=True)
class Tenant:
    """One tenant as last changed."""

    name: str
    role: str
    """TENANT sees itself, OPERATOR everyone."""
    enabled: bool
    price_per_kwh: float
    """0 where no tariff was agreed."""
    currency: str
    key_id: str
    key_sha256: str
    added_at: datetime
    changed_at: datetime

    @property
    def has_tariff(self) -> bool:
        """Whether energy has a price."""
        return bool(self.currency)


def tenants(client: "Client") -> list[Tenant]:
    """Every tenant ever added, by name."""
    return [_tenant(*row) for row in client.query(f"{READ} ORDER BY tenant").result_rows]


def find_tenant(client: "Client", name: str) -> Tenant | None:
    """The tenant `name`; None if it was never added."""
    rows = client.query(f"{READ} WHERE tenant = {{name:String}}", parameters={"name": name}).result_rows
    return _tenant(*rows[0]) if rows else None


def add_tenant(
    client: "Client", name: str, *, price_per_kwh: float = 0.0, currency: str = "", role: str = TENANT
) -> str:
    """Add a tenant; returns its API key, which is shown this once.

    Raises DataError for a name or tariff that cannot be, or a tenant that exists.
    """
    if not name or len(name) > LONGEST_NAME or not name.isprintable() or name != name.strip():
        raise DataError(
            f"tenant {name!r}: a name is 1 to {LONGEST_NAME} printable characters without spaces around"
        )
    if not 0 <= price_per_kwh < 1e6:
        raise DataError(f"price {price_per_kwh!r} per kWh must be between 0 and 1,000,000")
    if currency and not re.fullmatch(r"[A-Z]{3}", currency):
        raise DataError(f"currency {currency!r} is no ISO 4217 code such as EUR")
    if price_per_kwh and not currency:
        raise DataError(f"price {price_per_kwh!r} per kWh needs a currency, such as EUR")
    if find_tenant(client, name) is not None:
        raise DataError(f"tenant {name!r} exists: rotate its key, or disable it")
    key, key_id, key_sha256 = _new_key()
    now = datetime.now(UTC)
    _write(client, Tenant(name, role, True, price_per_kwh, currency, key_id, key_sha256, now, now), "added")
    return key


def rotate_key(client: "Client", name: str) -> str:
    """Give a tenant a new key, which is shown this once; the old one opens nothing from now on."""
    known = _known(client, name)
    key, key_id, key_sha256 = _new_key()
    changed = replace(known, key_id=key_id, key_sha256=key_sha256, enabled=True, changed_at=datetime.now(UTC))
    _write(client, changed, "key_rotated")
    return key


def disable_tenant(client: "Client", name: str) -> None:
    """Close the API to a tenant; its energy is booked and reported as before."""
    known = _known(client, name)
    _write(client, replace(known, enabled=False, changed_at=datetime.now(UTC)), "disabled")


def owner_of(client: "Client", key: str) -> Tenant | None:
    """Whose key this is; None for an unknown, replaced or disabled one. Time does not tell which."""
    found = re.fullmatch(r"wl_([0-9a-f]{12})_([A-Za-z0-9_-]{43})", key)
    key_id, secret = (found[1], found[2]) if found else ("", "")
    rows = client.query(
        f"{READ} WHERE key_id = {{key_id:String}} AND key_id != ''", parameters={"key_id": key_id}
    ).result_rows
    tenant = _tenant(*rows[0]) if rows else None
    expected = tenant.key_sha256 if tenant else "0" * 64
    matches = hmac.compare_digest(hashlib.sha256(secret.encode()).hexdigest(), expected)
    return tenant if tenant and matches and tenant.enabled else None


def _known(client: "Client", name: str) -> Tenant:
    known = find_tenant(client, name)
    if known is None:
        raise DataError(f"tenant {name!r} was never added: `wattledger tenants list` shows those that were")
    return known


def _new_key() -> tuple[str, str, str]:
    """(key, its id, the secret's hash)."""
    key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    return f"wl_{key_id}_{secret}", key_id, hashlib.sha256(secret.encode()).hexdigest()


def _write(client: "Client", tenant: Tenant, action: str) -> None:
    row = [
        tenant.name, tenant.changed_at, action, tenant.role, int(tenant.enabled), tenant.price_per_kwh,
        tenant.currency, tenant.key_id, tenant.key_sha256,
    ]  # fmt: skip
    client.insert("tenants", [row], column_names=list(COLUMNS))


def _tenant(
    name: str,
    role: str,
    enabled: int,
    price_per_kwh: float,
    currency: str,
    key_id: str,
    key_sha256: str,
    added_at: datetime,
    changed_at: datetime,
) -> Tenant:
    return Tenant(
        name, role, bool(enabled), price_per_kwh, currency, key_id, key_sha256,
        added_at.replace(tzinfo=UTC), changed_at.replace(tzinfo=UTC),
    )  # fmt: skip
