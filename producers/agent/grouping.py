"""Which GPUs are metered together: engines that share a GPU are one group, GPUs of no engine another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["GroupPlan", "plan_groups", "split_host"]


@dataclass(frozen=True, slots=True)
class GroupPlan:
    """One metering group of a node."""

    group_id: str
    engines: tuple[str, ...]
    """Sorted; empty for the GPUs that serve none."""
    gpu_uuids: tuple[str, ...]
    """Sorted physical GPUs."""


def plan_groups(
    prefix: str, gpu_uuids: Sequence[str], claims: Mapping[str, Sequence[str]]
) -> list[GroupPlan]:
    """Groups of a node, by what each engine (`cluster/node/name`) says it holds.

    A group's id is its engine's, or the engines' names joined by `+`: it is the same whenever the same
    engines share. GPUs that nobody claims are the group `<prefix>/spare`, which is there even without GPUs,
    so that the host's energy always has an owner.
    """
    groups: list[tuple[set[str], set[str]]] = []
    for engine, claimed in sorted(claims.items()):
        engines, uuids = {engine}, set(claimed)
        apart = []
        for others, theirs in groups:
            if theirs & uuids:
                engines |= others
                uuids |= theirs
            else:
                apart.append((others, theirs))
        groups = [*apart, (engines, uuids)]
    plans = [
        GroupPlan(joint_id(prefix, engines), tuple(sorted(engines)), tuple(sorted(uuids)))
        for engines, uuids in groups
    ]
    claimed_uuids = {uuid for plan in plans for uuid in plan.gpu_uuids}
    spare = tuple(sorted(set(gpu_uuids) - claimed_uuids))
    if spare or not any(plan.gpu_uuids for plan in plans):
        plans.append(GroupPlan(f"{prefix}/spare", (), spare))
    return sorted(plans, key=lambda plan: plan.group_id)


def joint_id(prefix: str, engines: set[str]) -> str:
    """One engine's id, or the prefix and the engines' names."""
    if len(engines) == 1:
        return next(iter(engines))
    return f"{prefix}/" + "+".join(engine.rpartition("/")[2] for engine in sorted(engines))


def split_host(energy_uj: int, plans: Sequence[GroupPlan]) -> list[int]:
    """The host's energy over the groups by GPU count, in integers that sum to it exactly.

    Where the node has no GPU at all, the last group (the spare one) has it.
    """
    counts = [len(plan.gpu_uuids) for plan in plans]
    total = sum(counts)
    if total == 0:
        return [0] * (len(plans) - 1) + [energy_uj]
    shares, upto, given = [], 0, 0
    for count in counts:
        upto += count
        edge = energy_uj * upto // total
        shares.append(edge - given)
        given = edge
    return shares
