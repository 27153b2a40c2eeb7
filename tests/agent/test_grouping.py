"""Groups of a node: whoever shares a GPU is metered together, every GPU belongs to one group."""

from hypothesis import given
from hypothesis import strategies as st

from producers.agent.grouping import plan_groups, split_host

GPUS = [f"GPU-{index}" for index in range(6)]
CLAIMS = st.dictionaries(
    st.sampled_from([f"c/n/e{index}" for index in range(5)]),
    st.lists(st.sampled_from(GPUS), max_size=3, unique=True),
)


@given(CLAIMS)
def test_every_gpu_and_every_engine_is_in_exactly_one_group(claims: dict[str, list[str]]) -> None:
    plans = plan_groups("c/n", GPUS, claims)
    assert sorted(uuid for plan in plans for uuid in plan.gpu_uuids) == GPUS
    assert sorted(engine for plan in plans for engine in plan.engines) == sorted(claims)
    assert len({plan.group_id for plan in plans}) == len(plans)


@given(CLAIMS)
def test_engines_share_a_group_if_and_only_if_gpus_link_them(claims: dict[str, list[str]]) -> None:
    plans = plan_groups("c/n", GPUS, claims)
    group = {engine: plan.group_id for plan in plans for engine in plan.engines}
    for one, ones in claims.items():
        for other, others in claims.items():
            if set(ones) & set(others):
                assert group[one] == group[other]
    for plan in plans:
        # Within a group every engine is reached from the first over shared GPUs.
        reached = set(plan.engines[:1])
        for _ in plan.engines:
            reached |= {e for e in plan.engines if any(set(claims[e]) & set(claims[r]) for r in reached)}
        assert reached == set(plan.engines)


def test_one_engine_gives_its_group_its_name_and_two_are_joined() -> None:
    alone = plan_groups("c/n", GPUS[:2], {"c/n/a": ["GPU-0"]})
    assert [(plan.group_id, plan.engines) for plan in alone] == [("c/n/a", ("c/n/a",)), ("c/n/spare", ())]
    shared = plan_groups("c/n", GPUS[:1], {"c/n/b": ["GPU-0"], "c/n/a": ["GPU-0"]})
    assert [(plan.group_id, plan.gpu_uuids) for plan in shared] == [("c/n/a+b", ("GPU-0",))]


@given(CLAIMS, st.integers(0, 10**12))
def test_the_hosts_energy_is_split_by_gpus_and_nothing_is_left_over(
    claims: dict[str, list[str]], energy_uj: int
) -> None:
    plans = plan_groups("c/n", GPUS, claims)
    shares = split_host(energy_uj, plans)
    assert sum(shares) == energy_uj
    for plan, share in zip(plans, shares, strict=True):
        assert abs(share - energy_uj * len(plan.gpu_uuids) / len(GPUS)) <= 1


def test_a_host_without_gpus_still_has_an_owner() -> None:
    plans = plan_groups("c/n", [], {"c/n/a": []})
    assert [plan.group_id for plan in plans] == ["c/n/a", "c/n/spare"]
    assert split_host(100, plans) == [0, 100]
