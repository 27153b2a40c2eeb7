"""A static member that restarts finds the partitions where it left them, and so do the others."""

from dataclasses import dataclass

import faust
import pytest
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata

from schemas.topics import ENERGY, ITERATIONS, LOADS
from streams.worker.assignor import AssignorByName

TOPICS = (ITERATIONS, ENERGY, LOADS)
PARTITIONS = 6


@dataclass(frozen=True)
class Cluster:
    """As much of the broker's metadata as an assignor asks for."""

    def partitions_for_topic(self, topic: str) -> set[int]:
        return set(range(PARTITIONS)) if topic in TOPICS else set()


@pytest.fixture
def assignor(tmp_path) -> AssignorByName:
    app = faust.App("test-assignor", broker="kafka://nobody", store="memory://", datadir=str(tmp_path))
    return AssignorByName(app, replicas=1)


def assigned(assignor: AssignorByName, members: list[str]) -> dict[str, dict[str, list[int]]]:
    """By static name, then topic: the partitions."""
    said = ConsumerProtocolMemberMetadata(2, list(TOPICS), assignor.metadata(set(TOPICS)).user_data)
    found = assignor.assign(Cluster(), dict.fromkeys(members, said))
    return {
        member.split("-")[0]: {topic: sorted(partitions) for topic, partitions in one.assignment}
        for member, one in found.items()
    }


def test_a_restart_under_the_same_name_moves_no_partition(assignor):
    before = assigned(assignor, ["a-1111", "b-2222", "c-3333"])
    assert assigned(assignor, ["b-2222", "c-3333", "a-9999"]) == before
    assert assigned(assignor, ["c-0000", "b-7777", "a-9999"]) == before


def test_every_partition_has_one_owner_and_the_topics_go_together(assignor):
    for names in (["a-1"], ["a-1", "b-2"], ["a-1", "b-2", "c-3", "d-4"]):
        found = assigned(assignor, names)
        for topic in TOPICS:
            assert sorted(p for member in found.values() for p in member.get(topic, [])) == list(
                range(PARTITIONS)
            )
        for member in found.values():
            assert member.get(ITERATIONS) == member.get(ENERGY) == member.get(LOADS)


def test_what_a_member_says_of_itself_does_not_depend_on_what_it_holds(assignor):
    fresh = assignor.metadata(set(TOPICS)).user_data
    said = ConsumerProtocolMemberMetadata(2, list(TOPICS), fresh)
    (given,) = assignor.assign(Cluster(), {"a-1": said}).values()
    assignor.on_assignment(given)
    assert assignor.metadata(set(TOPICS)).user_data == fresh
