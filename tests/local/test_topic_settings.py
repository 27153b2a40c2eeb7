"""Topics are created, and checked, so that what is acknowledged is on two brokers."""

import pytest

from schemas.topics import TOPICS
from wattledger.topics_admin import differences, in_sync

TOPIC = TOPICS[0]


@pytest.mark.parametrize(("replicas", "expected"), [(1, {}), (2, {}), (3, {"min.insync.replicas": "2"})])
def test_an_acknowledgement_is_two_brokers_word_where_there_are_three(
    replicas: int, expected: dict[str, str]
) -> None:
    assert in_sync(replicas) == expected


def test_a_topic_as_declared_has_no_differences() -> None:
    assert differences(TOPIC, TOPIC.config | {"min.insync.replicas": "2"}, 3) == ()
    assert differences(TOPIC, TOPIC.config | {"min.insync.replicas": "1"}, 1) == ()


def test_a_difference_is_named_with_the_command_that_mends_it() -> None:
    (lax,) = differences(TOPIC, TOPIC.config | {"min.insync.replicas": "1"}, 3)
    assert "min.insync.replicas=2" in lax
    (short,) = differences(TOPIC, dict(TOPIC.config) | {"retention.ms": "1000"}, 1)
    assert f"retention.ms={TOPIC.config['retention.ms']}" in short
