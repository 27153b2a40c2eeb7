"""Which role may do what on which topic, as Kafka's own ACL tool takes it.

ACLs know topics, not keys: that a node speaks for itself only is what signatures are for.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from schemas.topics import DEAD_LETTERS, ENERGY, ENGINES, GRID, ITERATIONS, LOADS, MODELS, POLICIES

__all__ = ["ROLES", "RULES", "Rule", "acl_commands"]


@dataclass(frozen=True, slots=True)
class Rule:
    """One role's operations on topics, or on its consumer groups."""

    role: str
    operations: Sequence[str]
    topics: Sequence[str] = ()
    group_prefix: str = ""


FRAMES: Final = (ITERATIONS, ENERGY, LOADS)
SIDE_INPUTS: Final = (ENGINES, MODELS, POLICIES, GRID)
LOOK: Final = ("Describe", "DescribeConfigs")

RULES: Final = (
    Rule("agent", ("Write", *LOOK), (*FRAMES, ENGINES)),
    Rule("worker", ("Read", *LOOK), (*FRAMES, *SIDE_INPUTS, DEAD_LETTERS)),
    Rule("worker", ("Write",), (MODELS, DEAD_LETTERS)),
    Rule("worker", ("Read", "Describe"), group_prefix="wattledger"),
    Rule("poller", ("Write", *LOOK), (GRID,)),
    Rule(
        "operator", ("Read", "Write", "Create", "AlterConfigs", *LOOK), (*FRAMES, *SIDE_INPUTS, DEAD_LETTERS)
    ),
    Rule("operator", ("Read", "Describe"), group_prefix="wattledger"),
)
"""`operator`: topics, policies, factors, doctor, repair, replays of dead letters."""

ROLES: Final = tuple(dict.fromkeys(rule.role for rule in RULES))


def acl_commands(servers: str, principals: Mapping[str, str]) -> Iterator[str]:
    """One `kafka-acls.sh` command per rule of the roles in `principals` (role → `User:name`).

    The worker's consumer groups must begin with `wattledger`; a producer's idempotence needs no right of its own
    since Kafka 3.0.
    """
    for rule in RULES:
        principal = principals.get(rule.role)
        if principal is None:
            continue
        operations = " ".join(f"--operation {operation}" for operation in rule.operations)
        where = " ".join(f"--topic {topic}" for topic in rule.topics)
        if rule.group_prefix:
            where = f"--group {rule.group_prefix} --resource-pattern-type prefixed"
        yield f"kafka-acls.sh --bootstrap-server {servers} --add --allow-principal {principal} {operations} {where}"
