"""A few runs of the fault matrix with every test run; `make test-faults` does as many as asked."""

from collections.abc import Iterator

import pytest

from tests.faults.plan import DESTRUCTIVE, draw
from tests.faults.runs import Site, run, site

SEEDS = (101, 100)
"""One that destroys nothing, and one that does."""


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("faults")) as built:
        yield built


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_faults_that_overlap_lose_and_duplicate_nothing(where: Site, seed: int) -> None:
    verdict = run(where, draw(seed)).verdict
    assert not verdict.broken, verdict.broken
    assert (verdict.lost_uj, verdict.duplicated_uj) == (0, 0)


def test_a_seed_draws_the_same_faults_and_says_whether_they_destroy() -> None:
    for seed in range(60):
        plan = draw(seed)
        assert plan == draw(seed)
        assert plan.size >= 20
        assert plan.destructive == any(one.kind in DESTRUCTIVE for one in plan.messages)
