"""Which member gets which partitions: decided by the members' names alone, so that a restart moves nothing.

Faust's assignor keeps partitions where they were, by what each member last said it had. A static member that
restarts says it has nothing, and the others' words may be older than the present assignment: measured, the restart
of one of two moved all partitions. Our workers keep nothing between assignments, so history is worth nothing.
"""

from collections.abc import Collection

from aiokafka.cluster import ClusterMetadata
from faust.assignor.client_assignment import ClientAssignment, ClientMetadata
from faust.assignor.partition_assignor import (
    MemberAssignmentMapping,
    MemberMetadataMapping,
    PartitionAssignor,
)

from schemas.errors import WattledgerError
from schemas.topics import ENERGY, ITERATIONS

__all__ = ["AssignorByName", "must_be_co_partitioned"]


class AssignorByName(PartitionAssignor):
    """Faust's co-partitioned assignment without a memory, over members in order of their ids.

    A static member's id begins with its instance id, so a restart leaves it where it was in the order.
    """

    @property
    def _metadata(self) -> ClientMetadata:
        """What a member says of itself: always the same, or the broker would call a restart a change."""
        return ClientMetadata(
            assignment=ClientAssignment(actives={}, standbys={}),
            url=str(self._url),
            changelog_distribution={},
            external_topic_distribution={},
            topic_groups={},
        )

    def _perform_assignment(
        self, cluster: ClusterMetadata, member_metadata: MemberMetadataMapping
    ) -> MemberAssignmentMapping:
        """Faust's own, in an order that does not depend on who joined when."""
        return super()._perform_assignment(cluster, dict(sorted(member_metadata.items())))


def must_be_co_partitioned(assigned: Collection[tuple[str, int]]) -> None:
    """Raise WattledgerError unless of both frame topics the same partitions are among these."""
    iterations = {partition for topic, partition in assigned if topic == ITERATIONS}
    energy = {partition for topic, partition in assigned if topic == ENERGY}
    if iterations != energy:
        raise WattledgerError(
            f"partitions of {ITERATIONS} {sorted(iterations)} and {ENERGY} {sorted(energy)} differ: "
            "give both topics the same number of partitions"
        )
