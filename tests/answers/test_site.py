"""The page's views: each says what the ledger says, links to the others, and tells a tenant nothing of others."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from fastapi.testclient import TestClient

from streams.answers.api import ServiceRules, create_api
from streams.answers.opened_batch import open_batch, telling_batch
from streams.answers.registry import OPERATOR, add_tenant
from streams.answers.signing import keyring_of, load_keyring, new_key, verified
from tests.answers.conftest import Ledger

TENANT, OTHER = "saffron-table", "iris-optics"


@dataclass(frozen=True, slots=True)
class Site:
    """Two services: one on a laptop that needs no key, and one that asks for it."""

    laptop: TestClient
    guarded: TestClient
    keys: dict[str, str]
    batch_id: str
    request_ids: dict[str, str]


@pytest.fixture(scope="module")
def site(ledger: Ledger, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("keys")
    new_key(directory, datetime(2026, 9, 1, tzinfo=UTC))
    ring = load_keyring(directory)
    keys = {
        "tenant": add_tenant(ledger.client, TENANT),
        "operator": add_tenant(ledger.client, "site-operator", role=OPERATOR),
    }
    rules = ServiceRules(per_second=1e6, burst=1e6)
    closed = create_api(ledger.dsn, ring, rules)
    opened = create_api(ledger.dsn, ring, ServiceRules(page_for_all=True, per_second=1e6, burst=1e6))
    batch_id = telling_batch(ledger.client, ledger.period)
    assert batch_id is not None
    ids = ledger.client.query(
        f"SELECT tenant, max(request_id) FROM receipts WHERE tenant IN ('{TENANT}', '{OTHER}') GROUP BY tenant"
    ).result_rows
    with (
        TestClient(opened, base_url="http://127.0.0.1:8321") as laptop,
        TestClient(closed) as guarded,
    ):
        yield Site(laptop, guarded, keys, batch_id, dict(ids))


def signed_in(browser: TestClient, key: str) -> TestClient:
    browser.cookies.clear()
    answer = browser.post("/login", content=f"key={key}", follow_redirects=False)
    assert answer.status_code == 303
    return browser


def links(text: str) -> set[str]:
    return set(re.findall(r'href="(/[^"]*)"', text.replace("&amp;", "&")))


def test_every_kind_of_link_leads_to_a_view(site: Site) -> None:
    opened: dict[str, str] = {}
    ahead = ["/"]
    while ahead:
        path = ahead.pop()
        kind = re.sub(r"^(/[a-z0-9]+/)[^/?]+", r"\1*", path)
        if kind in opened:
            continue
        opened[kind] = path
        answer = site.laptop.get(path)
        assert answer.status_code == 200, path
        if answer.headers["content-type"].startswith("text/html"):
            ahead += sorted(links(answer.text))
    wanted = {
        "/",
        "/tenants",
        "/tenants/*",
        "/reports/*?span=1 h",
        "/batches/*",
        "/receipts/*",
        "/receipts/*/file",
    }
    assert set(opened) >= wanted


def test_views_load_nothing_and_run_nothing(site: Site) -> None:
    for path in ("/", "/tenants", f"/tenants/{TENANT}", f"/batches/{site.batch_id}", "/login",
                 f"/receipts/{site.request_ids[TENANT]}"):  # fmt: skip
        answer = site.laptop.get(path)
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert not re.search(r"<script|<img|<iframe|url\(|@import|\son\w+=", answer.text), path
        assert set(re.findall(r"https?://[^\s\"<]+", answer.text)) == set(), path


def test_the_fleet_now_is_the_last_windows_of_its_groups(site: Site, ledger: Ledger) -> None:
    end_ns = ledger.filled.end_ns
    last = [batch for batch in ledger.filled.batches if batch.start_ns >= end_ns - 15_000_000_000]
    seconds: dict[str, float] = {}
    joules: dict[str, float] = {}
    for batch in last:
        seconds[batch.group_id] = seconds.get(batch.group_id, 0.0) + (batch.end_ns - batch.start_ns) / 1e9
        joules[batch.group_id] = joules.get(batch.group_id, 0.0) + batch.metered_uj / 1e6
    text = site.laptop.get("/?span=15+min").text
    watts = sorted(energy_j / seconds[group_id] for group_id, energy_j in joules.items())
    cells = re.findall(r'<td role="cell" data-unit="W">([\d\u202f]+)</td>', text)
    assert sorted(int(cell.replace("\u202f", "")) for cell in cells) == [round(one) for one in watts]
    assert "100.00 %" in text, "coverage: nothing is unobserved"


def test_a_share_comes_apart_into_parts_that_sum_to_it(site: Site, ledger: Ledger) -> None:
    batch = open_batch(ledger.client, site.batch_id)
    assert batch is not None
    for share in batch.shares:
        assert sum(share.parts_uj.values()) == pytest.approx(share.energy_uj, abs=1.5)
        assert share.last_uj is not None
        assert share.first_uj is not None
        assert share.last_uj <= share.energy_uj + 1
        assert share.energy_uj <= share.first_uj + 1
    assert sum(share.energy_uj for share in batch.shares) == batch.request_uj


def test_a_batch_names_everyone_in_it_and_links_their_receipts(site: Site, ledger: Ledger) -> None:
    batch = open_batch(ledger.client, site.batch_id)
    assert batch is not None
    text = site.laptop.get(f"/batches/{site.batch_id}").text
    for share in batch.shares[:24]:
        assert f"/receipts/{share.request_id}" in text
        assert f"/tenants/{share.tenant}" in text
    assert text.count('class="range"') == min(len(batch.shares), 24)


def test_a_receipts_file_verifies(site: Site) -> None:
    request_id = site.request_ids[TENANT]
    text = site.laptop.get(f"/receipts/{request_id}").text
    assert "The signature fits" in text
    assert 'class="off"' not in text
    document = site.laptop.get(f"/receipts/{request_id}/file").json()
    ring = keyring_of(site.laptop.get("/v1/keys").json())
    assert verified(ring, document["jws"]) == document["receipt"]


def test_without_a_key_every_view_asks_for_one(site: Site) -> None:
    site.guarded.cookies.clear()
    for path in (
        "/",
        "/tenants",
        f"/tenants/{TENANT}",
        f"/batches/{site.batch_id}",
        "/receipts/x",
        "/reports/y",
    ):
        answer = site.guarded.get(path, follow_redirects=False)
        assert (answer.status_code, answer.headers["Location"]) == (303, "/login")
    for key in ("", "nonsense", "wl_000000000000_" + "A" * 43):
        refused = site.guarded.post("/login", content=f"key={key}")
        assert refused.status_code == 403
        assert "set-cookie" not in refused.headers


def test_an_operator_signs_in_looks_and_signs_out(site: Site) -> None:
    browser = signed_in(site.guarded, site.keys["operator"])
    text = browser.get("/").text
    assert "The fleet now" in text
    assert "site-operator" in text
    assert "Sign out" in text
    browser.post("/logout")
    assert browser.get("/", follow_redirects=False).status_code == 303


def test_a_tenant_sees_itself_and_nothing_of_others(site: Site) -> None:
    browser = signed_in(site.guarded, site.keys["tenant"])
    home = browser.get("/")
    assert home.url.path == f"/tenants/{TENANT}"
    assert browser.get(f"/receipts/{site.request_ids[TENANT]}").status_code == 200
    assert f"/batches/{site.batch_id}" not in browser.get(f"/receipts/{site.request_ids[TENANT]}").text
    answers = [
        browser.get(path)
        for path in (
            "/tenants",
            f"/tenants/{OTHER}",
            "/tenants/nobody",
            f"/reports/{OTHER}",
            f"/batches/{site.batch_id}",
            "/batches/no-such-batch",
            f"/receipts/{site.request_ids[OTHER]}",
            f"/receipts/{site.request_ids[OTHER]}/file",
            "/receipts/no-such-request",
        )
    ]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.text for answer in answers}) == 1


@pytest.mark.parametrize(
    "name", ["'; DROP TABLE ledger; --", "<script>alert(1)</script>", "../../etc", "a" * 500]
)
def test_odd_names_are_only_names(site: Site, name: str) -> None:
    answer = site.laptop.get(f"/tenants/{name}")
    assert answer.status_code == 404
    assert "<script>" not in answer.text


def test_a_laptops_page_answers_only_to_its_own_name(site: Site) -> None:
    assert site.laptop.get("/", headers={"Host": "evil.example"}).status_code == 400
