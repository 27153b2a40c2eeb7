"""What a machine without Java or Maven is told, and that the jars are fetched once."""

import stat
from pathlib import Path

import pytest

from schemas.errors import BrokerUnavailable
from wattledger.local.broker import broker
from wattledger.local.kafka_jars import java, kafka_jars
from wattledger.local.processes import free_ports


def command(directory: Path, name: str, script: str) -> None:
    path = directory / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def one_line(error: BrokerUnavailable) -> str:
    said = str(error)
    assert "\n" not in said
    assert "WATTLEDGER_KAFKA" in said
    return said


def test_without_java_it_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(BrokerUnavailable) as refused, broker(docker=False, env={"PATH": str(tmp_path)}):
        pass
    assert "no Java in PATH" in one_line(refused.value)


def test_a_java_home_without_java_is_named(tmp_path: Path) -> None:
    with pytest.raises(BrokerUnavailable) as refused:
        java({"PATH": "/usr/bin:/bin", "JAVA_HOME": str(tmp_path)})
    assert f"JAVA_HOME={tmp_path}" in one_line(refused.value)


def test_a_java_that_is_too_old_is_named_with_its_version(tmp_path: Path) -> None:
    command(tmp_path, "java", "echo 'openjdk version \"11.0.2\" 2019-01-15' >&2")
    with pytest.raises(BrokerUnavailable) as refused:
        java({"PATH": f"{tmp_path}:/usr/bin:/bin"})
    assert 'version "11.0.2"' in one_line(refused.value)


def test_without_maven_it_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(BrokerUnavailable) as refused:
        kafka_jars({"PATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")})
    assert "no Maven" in one_line(refused.value)


def test_a_fetch_that_fails_leaves_nothing_and_says_why(tmp_path: Path) -> None:
    command(tmp_path, "mvn", "echo '[ERROR] Could not transfer artifact'; exit 1")
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    with pytest.raises(BrokerUnavailable) as refused:
        kafka_jars(env)
    assert "Could not transfer artifact" in one_line(refused.value)
    assert [path.suffix for path in (tmp_path / "cache" / "wattledger" / "kafka").iterdir()] == [".lock"]


def test_jars_are_fetched_once_and_appear_complete(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    command(
        tmp_path,
        "mvn",
        f'echo x >> {calls}; for a in "$@"; do case $a in -Djars=*) d=${{a#-Djars=}};; esac; done; '
        'mkdir "$d"; touch "$d/k.jar"',
    )
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    jars = kafka_jars(env)
    assert kafka_jars(env) == jars
    assert [path.name for path in jars.iterdir()] == ["k.jar"]
    assert calls.read_text() == "x\n"


def test_an_address_that_does_not_answer_is_never_replaced() -> None:
    (port,) = free_ports(1)
    address = f"127.0.0.1:{port}"
    with pytest.raises(BrokerUnavailable) as refused, broker(address=address):
        pass
    assert address in one_line(refused.value)
