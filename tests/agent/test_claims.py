"""Claims on GPUs against the process list: who computes there, said once, and in the engine's descriptor."""

import logging
import os

import pytest

from producers.agent.claims import CONFIRMED, CONTRADICTED, SHARED, UNKNOWN, ClaimWatch, judge
from producers.agent.engines import Engine
from producers.hooks.contract import EngineFacts

HERE = os.getpid()
"""A living process that plays an engine's; its parent and the first process play strangers."""
PARENT = os.getppid()
GONE = 2**22 - 1
"""A process that is not there: no namespace of ours shows it."""


def engine(name: str, pid: int, *gpus: str) -> Engine:
    facts = EngineFacts(name, "engine 1", "tiny", "bfloat16", gpus)
    return Engine(f"c/n/{name}", "1-a", 1, facts, gpus, pid, 0)


@pytest.mark.parametrize(
    ("listed", "state", "strangers"),
    [
        (frozenset({HERE}), CONFIRMED, ()),
        (frozenset({HERE, 1}), SHARED, (1,)),
        (frozenset({1}), CONTRADICTED, (1,)),
        (frozenset({GONE}), UNKNOWN, ()),
        (frozenset(), UNKNOWN, ()),
        (None, UNKNOWN, ()),
    ],
)
def test_a_claim_is_what_the_process_list_makes_of_it(
    listed: frozenset[int] | None, state: str, strangers: tuple[int, ...]
) -> None:
    (claim,) = judge([engine("a", HERE, "GPU-0")], lambda _: listed)
    assert (claim.state, claim.strangers) == (state, strangers)


def test_a_worker_below_the_engines_process_is_the_engines() -> None:
    (claim,) = judge([engine("a", PARENT, "GPU-0")], lambda _: frozenset({HERE}))
    assert claim.state == CONFIRMED


def test_engines_that_share_a_gpu_are_no_strangers_to_each_other() -> None:
    claims = judge([engine("a", HERE, "GPU-0"), engine("b", 1, "GPU-0")], lambda _: frozenset({HERE, 1}))
    # The first process is above every other: what it runs is found, and nobody is a stranger.
    assert [claim.state for claim in claims] == [CONFIRMED, CONFIRMED]


def test_an_engine_in_a_foreign_namespace_is_not_judged() -> None:
    (claim,) = judge([engine("a", 0, "GPU-0")], lambda _: frozenset({1}))
    assert claim.state == UNKNOWN


def test_a_contest_is_said_once_when_seen_twice_and_taken_back(caplog: pytest.LogCaptureFixture) -> None:
    watch, one = ClaimWatch(), [engine("a", HERE, "GPU-0")]
    with caplog.at_level(logging.INFO):
        assert watch.look(one, lambda _: frozenset({1})) == set()
        assert watch.contested("c/n/a") == ()
        assert watch.look(one, lambda _: frozenset({1})) == {"c/n/a"}
        for _ in range(5):
            assert watch.look(one, lambda _: frozenset({1})) == set()
        assert watch.contested("c/n/a") == ("GPU-0",)
        warnings = [record.message for record in caplog.records if record.levelno == logging.WARNING]
        assert len(warnings) == 1
        assert "c/n/a" in warnings[0]
        assert "GPU-0" in warnings[0]
        assert "WATTLEDGER_GPU_UUIDS" in warnings[0]
        assert watch.look(one, lambda _: frozenset({HERE})) == {"c/n/a"}
    assert watch.contested("c/n/a") == ()
    assert "is confirmed now" in caplog.text


def test_an_engine_that_left_is_forgotten() -> None:
    watch, one = ClaimWatch(), [engine("a", HERE, "GPU-0")]
    watch.look(one, lambda _: frozenset({1}))
    watch.look(one, lambda _: frozenset({1}))
    watch.look([], lambda _: frozenset({1}))
    assert watch.contested("c/n/a") == ()
