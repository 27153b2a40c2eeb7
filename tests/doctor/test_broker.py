"""The doctor on a real broker: each thing that can be wrong with it, broken in turn."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from schemas.topics import DEAD_LETTERS, GRID, TOPICS, Topic
from wattledger import topics_admin
from wattledger.doctor.broker import broker_findings, topic_findings
from wattledger.doctor.contract import Finding, Status
from wattledger.local.broker import Broker
from wattledger.topics_admin import create_topics

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module")
def bootstrap(kafka: Broker) -> str:
    create_topics(kafka.bootstrap, partitions=4)
    return kafka.bootstrap


def of(findings: Iterator[Finding], name: str) -> Finding:
    (found,) = [finding for finding in findings if finding.name == name]
    return found


def declare(monkeypatch: pytest.MonkeyPatch, *changed: Topic) -> None:
    names = {topic.name for topic in changed}
    kept = tuple(topic for topic in TOPICS if topic.name not in names)
    monkeypatch.setattr(topics_admin, "TOPICS", (*kept, *changed))


def test_a_broker_that_answers_is_named_and_one_that_does_not_says_what_to_set(bootstrap: str) -> None:
    assert of(broker_findings(bootstrap), "broker").status is Status.OK
    silent = of(broker_findings("127.0.0.1:1"), "broker")
    assert silent.status is Status.FAILED
    assert "127.0.0.1:1" in silent.detail
    assert "WATTLEDGER_KAFKA" in silent.fix


def test_one_broker_is_enough_to_work_and_too_few_to_lose(bootstrap: str) -> None:
    found = list(topic_findings(bootstrap))
    assert {finding.name for finding in found} == {f"topic {topic.name}" for topic in TOPICS}
    assert {finding.status for finding in found} == {Status.WARNING}
    assert all("replication 1" in finding.detail for finding in found)


def test_a_topic_that_is_missing_is_to_be_created(bootstrap: str, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = next(topic for topic in TOPICS if topic.name == GRID)
    declare(monkeypatch, replace(grid, name="wattledger.nowhere.v1"))
    missing = of(topic_findings(bootstrap), "topic wattledger.nowhere.v1")
    assert (missing.status, missing.detail) == (Status.FAILED, "missing")
    assert "wattledger topics create" in missing.fix


def test_a_retention_that_was_changed_is_named_with_the_command_that_mends_it(bootstrap: str) -> None:
    def set_to(value: str) -> None:
        entry = ConfigEntry("retention.ms", value, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, DEAD_LETTERS, incremental_configs=[entry])
        for future in admin.incremental_alter_configs([resource]).values():
            future.result(20)

    admin = AdminClient({"bootstrap.servers": bootstrap})
    declared = next(topic for topic in TOPICS if topic.name == DEAD_LETTERS).config["retention.ms"]
    set_to("60000")
    try:
        (found, *_) = [one for one in topic_findings(bootstrap) if one.name == f"topic {DEAD_LETTERS}"]
    finally:
        set_to(declared)
    assert found.status is Status.FAILED
    assert found.detail == f"retention.ms is 60000, declared {declared}"
    assert (
        f"--add-config retention.ms={declared} --entity-type topics --entity-name {DEAD_LETTERS}" in found.fix
    )


def test_topics_that_belong_together_and_differ_in_partitions_fail(
    bootstrap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = next(topic for topic in TOPICS if topic.name == GRID)
    declare(monkeypatch, replace(grid, co_partitioned=True))
    found = of(topic_findings(bootstrap), "co-partitioning")
    assert found.status is Status.FAILED
    assert f"{GRID} has 1 partitions" in found.detail
    assert "partitions.md" in found.fix


def test_an_agents_doctor_looks_at_its_own_topics_only(bootstrap: str) -> None:
    assert {finding.name for finding in topic_findings(bootstrap, (GRID,))} == {f"topic {GRID}"}
