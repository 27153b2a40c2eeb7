"""Probes: live while the worker gets on, whatever is away; ready once it was given partitions."""

import asyncio
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter

from schemas.errors import BrokerUnavailable
from schemas.metrics.endpoint import serve_endpoint
from streams.worker import shell as shell_module
from streams.worker.health import STALLED_S, Health
from tests.worker.test_backpressure import Database, make_shell


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_loop_that_hangs_is_not_live_and_one_that_goes_round_is(clock: Clock) -> None:
    health = Health(clock)
    clock.now_s += STALLED_S
    assert health.live() is None
    clock.now_s += 1
    assert "hangs" in (health.live() or "")
    health.turned()
    assert health.live() is None


def test_messages_that_nobody_reads_end_it_though_the_loop_goes_round(clock: Clock) -> None:
    health = Health(clock)
    for _ in range(12):
        health.reading(unread=True)
        health.turned()
        clock.now_s += 30
    assert "none was read" in (health.live() or "")
    health.reading(unread=False)
    assert health.live() is None


def test_a_new_assignment_begins_with_a_clean_slate(clock: Clock) -> None:
    health = Health(clock)
    health.reading(unread=True)
    clock.now_s += STALLED_S + 1
    health.turned()
    health.assigned()
    assert health.live() is None


def test_ready_is_the_first_assignment_even_of_nothing_and_stays() -> None:
    health = Health()
    assert health.ready() is not None
    health.assigned()
    assert health.ready() is None


def looks(monkeypatch: pytest.MonkeyPatch, end: int, holds: Callable[..., bool]) -> list[bool]:
    """What three looks of a shell that reads nothing find, where both logs end at `end`."""
    monkeypatch.setattr(shell_module, "LOOK_S", 0.01)
    seen: list[bool] = []
    monkeypatch.setattr(Health, "reading", lambda self, *, unread: seen.append(unread))

    async def watch() -> None:
        shell = make_shell(Database())
        monkeypatch.setattr(shell._frontier, "ends", lambda asked: dict.fromkeys(asked, end))
        monkeypatch.setattr(shell._frontier, "holds", holds)
        topics = (shell_module.ITERATIONS, shell_module.ENERGY)
        await shell.open_gate({(topic, 0) for topic in topics}, consumer=None)
        await shell.watch_forever(lambda: len(seen) >= 3)

    asyncio.run(watch())
    return seen


def no_answer(*_: object) -> bool:
    raise BrokerUnavailable("nothing there")


def test_a_fetcher_that_stands_still_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The logs grow, nothing is handed over: the shell says so from the second look on."""
    assert looks(monkeypatch, end=5, holds=lambda *_: True) == [False, True, True]


def test_nothing_to_read_is_no_standstill(monkeypatch: pytest.MonkeyPatch) -> None:
    assert looks(monkeypatch, end=0, holds=lambda *_: True) == [False, False, False]


def test_a_transactions_marker_or_a_broker_away_is_no_standstill(monkeypatch: pytest.MonkeyPatch) -> None:
    assert looks(monkeypatch, end=1, holds=no_answer) == [False, False, False]


def ask(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_the_endpoint_answers_probes_and_prometheus() -> None:
    registry = CollectorRegistry()
    Counter("frames", "seen", registry=registry).inc(3)
    wrong: dict[str, Any] = {"live": None, "ready": "not yet"}
    server = serve_endpoint(
        0, registry, live=lambda: wrong["live"], ready=lambda: wrong["ready"], host="127.0.0.1"
    )
    port = server.server_address[1]
    try:
        assert ask(port, "/live") == (200, "ok\n")
        assert ask(port, "/ready") == (503, "not yet\n")
        assert "frames_total 3.0" in ask(port, "/metrics")[1]
    finally:
        server.shutdown()
        server.server_close()
