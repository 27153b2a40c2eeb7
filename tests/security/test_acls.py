"""Each role may do on each topic what it does, and no more."""

import pytest
from click.testing import CliRunner

from schemas.topics import ENERGY, ENGINES, ITERATIONS, LOADS, MODELS, POLICIES, TOPICS
from wattledger.__main__ import cli
from wattledger.kafka_acls import ROLES, RULES, acl_commands


def may(role: str, operation: str) -> set[str]:
    return {
        topic for rule in RULES if rule.role == role and operation in rule.operations for topic in rule.topics
    }


def test_who_may_write_is_who_the_topics_name_as_their_owner() -> None:
    assert may("agent", "Write") == {ITERATIONS, ENERGY, LOADS, ENGINES}
    assert not may("agent", "Read")
    assert not may("worker", "Write") & {ITERATIONS, ENERGY, LOADS, ENGINES, POLICIES}
    assert MODELS in may("worker", "Write")
    assert {topic.name for topic in TOPICS} == may("operator", "Write")
    assert {topic.name for topic in TOPICS} == may("worker", "Read")


def test_commands_are_printed_for_the_roles_named_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATTLEDGER_KAFKA", "broker:9092")
    done = CliRunner().invoke(cli, ["topics", "acls", "--agent", "User:a"])
    (line,) = done.output.splitlines()
    assert line.startswith("kafka-acls.sh --bootstrap-server broker:9092 --add --allow-principal User:a ")
    assert f"--operation Write --operation Describe --operation DescribeConfigs --topic {ITERATIONS}" in line
    assert CliRunner().invoke(cli, ["topics", "acls"]).exit_code == 2
    everyone = {role: f"User:{role}" for role in ROLES}
    assert len(list(acl_commands("b:1", everyone))) == len(RULES)
