"""What every route of the service shares: its rules, its desk, whose key a call carries, a receipt made for it."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from fastapi import Request

from streams.answers.desk import Desk
from streams.answers.rate_limit import RateLimit
from streams.answers.receipts import make_receipt
from streams.answers.registry import OPERATOR, Tenant, owner_of
from streams.answers.signing import Keyring

__all__ = ["NO_SUCH", "Service", "ServiceRules", "make", "owner", "service_of"]

NO_SUCH: Final = "no such thing, or not yours: check the id and the key"
"""One answer for what is missing and what is another tenant's."""


@dataclass(frozen=True, slots=True)
class ServiceRules:
    """How a service presents itself and whom it lets in."""

    issuer: str = "wattledger"
    base_url: str = ""
    """Where it answers, as receipts name it; empty for where it listens."""
    page_for_all: bool = False
    """Show every view without a key: on a laptop, where only its user can connect."""
    per_second: float = 20.0
    burst: float = 60.0


@dataclass(frozen=True, slots=True)
class Service:
    """A running service's parts."""

    desk: Desk
    ring: Keyring
    rules: ServiceRules
    limit: RateLimit


def service_of(request: Request) -> Service:
    """The service that answers `request`."""
    service: Service = request.app.state.service
    return service


async def owner(service: Service, key: str) -> Tenant | None:
    """Whose key this is; None where it opens nothing."""
    return await service.desk.ask(owner_of, key) if key else None


async def make(service: Service, caller: Tenant, request_id: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """(receipt, lineage) of a request, unsigned; DataError where it is missing or not the caller's."""
    return await service.desk.ask(
        make_receipt,
        request_id,
        tenant=None if caller.role == OPERATOR else caller.name,
        issuer=service.rules.issuer,
        base_url=service.rules.base_url,
        issued_at=datetime.now(UTC),
    )
