"""The API and the grid poller count what they do."""

import asyncio
from typing import Any

from producers.grid.metrics import PollerMetrics
from producers.grid.poller import Polled
from schemas.metrics.instruments import new_registry
from streams.answers.api import ServiceRules, create_api
from streams.answers.metrics import ApiMetrics
from streams.answers.signing import Keyring


def get(app: Any, path: str) -> int:
    """Status of a GET, without a server and without the ledger behind it."""
    told: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        told.append(message)

    scope = {
        "type": "http", "http_version": "1.1", "method": "GET", "path": path, "raw_path": path.encode(),
        "query_string": b"", "headers": [], "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2),
        "scheme": "http", "root_path": "", "asgi": {"version": "3.0"},
    }  # fmt: skip
    asyncio.run(app(scope, receive, send))
    status: int = told[0]["status"]
    return status


def test_calls_are_counted_by_route_as_declared_so_that_no_caller_makes_labels() -> None:
    metrics = ApiMetrics(new_registry())
    app = create_api("chdb:///nowhere", Keyring({}, None), ServiceRules(), metrics)
    assert get(app, "/health") == 200
    assert get(app, "/v1/receipts/one") == 401
    assert get(app, "/v1/receipts/two") == 401
    assert get(app, "/no/such/page") == 404
    count = metrics.registry.get_sample_value
    name = "wattledger_api_requests_total"
    assert count(name, {"route": "/health", "status": "200"}) == 1
    assert count(name, {"route": "/v1/receipts/{request_id}", "status": "401"}) == 2
    assert count(name, {"route": "none", "status": "404"}) == 1
    assert count("wattledger_api_answer_seconds_count", {"route": "/health"}) == 1


def test_a_polled_round_says_what_it_brought_and_what_not() -> None:
    registry = new_registry()
    metrics = PollerMetrics(registry)
    for failures in (("DE: no answer",), ()):
        metrics.count("entso-e", Polled(24, failures, 0.0))
    assert registry.get_sample_value("wattledger_poller_intensities_total", {"source": "entso-e"}) == 48
    assert registry.get_sample_value("wattledger_poller_failed_zones", {"source": "entso-e"}) == 0
    assert registry.get_sample_value("wattledger_poller_last_round_seconds", {"source": "entso-e"}) > 1.7e9
