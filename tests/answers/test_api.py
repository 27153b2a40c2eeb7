"""The service shows each tenant its own, and says the same of what is missing and what is another's."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from streams.answers.api import ServiceRules, create_api
from streams.answers.rate_limit import RateLimit
from streams.answers.recompute import recompute
from streams.answers.registry import OPERATOR, add_tenant
from streams.answers.signing import keyring_of, load_keyring, new_key, verified
from tests.answers.conftest import Ledger

TENANT, OTHER = "yarrow-health", "iris-optics"


@dataclass(frozen=True)
class Api:
    """A running service and keys to it."""

    http: TestClient
    tenant: dict[str, str]
    operator: dict[str, str]
    own: str
    foreign: str
    period: dict[str, str]


@pytest.fixture(scope="module")
def api(ledger: Ledger, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    keys = tmp_path_factory.mktemp("keys")
    new_key(keys, datetime(2026, 9, 1, tzinfo=UTC))
    name = f"{TENANT}"
    tenant, operator = (
        {"Authorization": f"Bearer {key}"}
        for key in (add_tenant(ledger.client, name), add_tenant(ledger.client, "the-operator", role=OPERATOR))
    )
    ids = dict(
        ledger.client.query(
            "SELECT tenant, min(request_id) FROM receipts "
            "WHERE tenant IN ('yarrow-health', 'iris-optics') GROUP BY tenant"
        ).result_rows
    )
    rules = ServiceRules(base_url="http://testserver", per_second=1e6, burst=1e6)
    period = {"from": ledger.period.start.isoformat(), "to": ledger.period.end.isoformat()}
    with TestClient(create_api(ledger.dsn, load_keyring(keys), rules)) as http:
        yield Api(http, tenant, operator, ids[TENANT], ids[OTHER], period)


def test_a_receipt_from_the_service_verifies_and_recomputes(api: Api) -> None:
    answer = api.http.get(f"/v1/receipts/{api.own}", headers=api.tenant).json()
    ring = keyring_of(api.http.get("/v1/keys").json())
    receipt = verified(ring, answer["jws"])
    assert receipt == answer["receipt"]
    lineage = api.http.get(receipt["lineage_url"], headers=api.tenant).json()
    assert all(check.holds for check in recompute(receipt, lineage))
    assert api.http.get(lineage["@context"]).json()["@context"]["prov"]


def test_another_tenants_things_look_like_missing_ones(api: Api) -> None:
    answers = [
        api.http.get(path, headers=api.tenant, params=params)
        for path, params in (
            ("/v1/receipts/no-such-request", {}),
            (f"/v1/receipts/{api.foreign}", {}),
            (f"/v1/receipts/{api.foreign}/lineage", {}),
            ("/v1/usage", api.period | {"tenant": OTHER}),
            ("/v1/usage", api.period | {"tenant": "nobody"}),
            ("/v1/statements/iris-optics/000001", {}),
            ("/v1/books", api.period),
        )
    ]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.text for answer in answers}) == 1


@pytest.mark.parametrize(
    "header", [{}, {"Authorization": "Bearer nonsense"}, {"Authorization": "Basic eDp5"}]
)
def test_without_a_key_nothing_is_told(api: Api, header: dict[str, str]) -> None:
    for path in (f"/v1/receipts/{api.own}", f"/v1/receipts/{api.own}/lineage", "/v1/usage", "/v1/books"):
        answer = api.http.get(path, headers=header, params=api.period)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_usage_is_the_tenants_own_report(api: Api, ledger: Ledger) -> None:
    answer = api.http.get("/v1/usage", headers=api.tenant, params=api.period).json()
    booked_uj = ledger.client.command(
        f"SELECT sum(energy_uj) FROM current_ledger WHERE tenant = '{TENANT}' AND account = 'request'"
    )
    assert sum(line["energy_uj"] for line in answer["models"]) == booked_uj


def test_an_operator_sees_every_tenant_the_books_and_the_page(api: Api) -> None:
    usage = api.http.get("/v1/usage", headers=api.operator, params=api.period | {"tenant": OTHER})
    assert usage.json()["tenant"] == OTHER
    assert api.http.get(f"/v1/receipts/{api.foreign}", headers=api.operator).status_code == 200
    assert api.http.get("/v1/books", headers=api.operator, params=api.period).json()["closes"] is True


def test_a_period_that_cannot_be_is_named(api: Api) -> None:
    turned = {"from": api.period["to"], "to": api.period["from"]}
    answer = api.http.get("/v1/usage", headers=api.tenant, params=turned)
    assert answer.status_code == 400
    assert "is not before" in answer.json()["detail"]
    assert api.http.get("/v1/usage", headers=api.tenant, params={"from": "x", "to": "y"}).status_code == 422


def test_everything_is_described(api: Api) -> None:
    described = api.http.get("/openapi.json").json()["paths"]
    assert set(described) >= {"/v1/receipts/{request_id}", "/v1/usage", "/v1/books", "/v1/keys"}
    assert all(operation["get"]["description"] for operation in described.values())


def test_too_many_calls_are_told_when_to_come_back(ledger: Ledger, tmp_path: Path) -> None:
    new_key(tmp_path, datetime(2026, 9, 1, tzinfo=UTC))
    rules = ServiceRules(per_second=0.5, burst=2)
    with TestClient(create_api(ledger.dsn, load_keyring(tmp_path), rules)) as http:
        codes = [http.get("/health").status_code for _ in range(3)]
        assert codes == [200, 200, 429]
        assert int(http.get("/health").headers["Retry-After"]) >= 1


def test_a_bucket_fills_steadily_and_forgets_the_longest_silent() -> None:
    limit = RateLimit(per_second=2.0, burst=3.0, most_callers=2)
    assert [limit.wait_s("a", 0.0) for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    assert limit.wait_s("a", 0.5) == 0.0
    assert limit.wait_s("a", 0.5) > 0.0
    limit.wait_s("b", 0.5)
    limit.wait_s("c", 0.5)
    assert limit.wait_s("a", 0.5) == 0.0
