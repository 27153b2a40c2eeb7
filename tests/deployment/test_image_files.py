"""Dockerfiles and the compose file name what exists: sources, scripts, commands, settings, services."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deployment.commands import parse
from wattledger.settings import load

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "images"
ROLES = ("agent", "worker", "api")
COMPOSE: dict[str, Any] = yaml.safe_load((IMAGES / "compose.yaml").read_text(encoding="utf-8"))
OURS = [name for name, one in COMPOSE["services"].items() if one["image"].startswith("wattledger-")]


def instructions(role: str) -> list[tuple[str, str]]:
    """(instruction, argument) of a role's Dockerfile, with its continued lines joined."""
    text = (IMAGES / role / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines]


def of(role: str, name: str) -> list[str]:
    return [argument for instruction, argument in instructions(role) if instruction == name]


@pytest.mark.parametrize("role", ROLES)
def test_what_is_copied_exists_and_is_let_into_the_build(role: str) -> None:
    let_in = [
        line[1:]
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    ]
    for argument in of(role, "COPY"):
        if argument.startswith("--from"):
            continue
        for source in argument.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert any(source == one or source.startswith(f"{one}/") for one in let_in), source


@pytest.mark.parametrize("role", ROLES)
def test_the_wheel_finds_its_parts_in_the_build(role: str) -> None:
    """What pyproject.toml packs must be copied, or the build fails where no image engine tells us."""
    packed = re.search(r"packages = \[(.*)\]", (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert packed is not None
    copied = " ".join(of(role, "COPY")).split()
    files = {"pyproject.toml", "uv.lock", "LICENSE", "NOTICE", "README.md"}
    assert files | set(json.loads(f"[{packed[1]}]")) <= set(copied)
    assert "tools/kafka" in copied


@pytest.mark.parametrize("role", ROLES)
def test_the_build_runs_the_scripts_that_the_tests_run(role: str) -> None:
    (step,) = (one for one in of(role, "RUN") if "images/" in one)
    assert step == f"images/wheel.sh {role} /dist && images/{role}/install.sh /dist /opt/wattledger"
    for script in ("wheel.sh", f"{role}/install.sh", "build.sh"):
        assert os.access(IMAGES / script, os.X_OK), script


@pytest.mark.parametrize("role", ROLES)
def test_an_image_is_pinned_unprivileged_and_looked_after(role: str) -> None:
    assert set(of(role, "FROM")) == {"${PYTHON_IMAGE} AS build", "${PYTHON_IMAGE}"}
    assert of(role, "USER") == ["65532:65532"]
    assert re.search(r"http://127\.0\.0\.1:\d+/(live|health)", of(role, "HEALTHCHECK")[0])
    names = [name for name, _ in instructions(role)]
    assert names.index("USER") < names.index("CMD")


@pytest.mark.parametrize("role", ROLES)
def test_an_image_starts_a_command_that_opens_the_port_that_is_looked_at(role: str) -> None:
    assert of(role, "ENTRYPOINT") == ['["wattledger"]']
    started = parse(json.loads(of(role, "CMD")[0])).params
    (port,) = re.findall(r"127\.0\.0\.1:(\d+)", of(role, "HEALTHCHECK")[0])
    assert int(port) in (started.get("metrics_port"), started.get("port"))
    assert port in of(role, "EXPOSE")[0].split()


@pytest.mark.parametrize("name", OURS)
def test_a_service_of_the_compose_file_runs_a_command_with_settings_that_load(
    name: str, tmp_path: Path
) -> None:
    service = COMPOSE["services"][name]
    parse(service["command"])
    variables = {
        key: re.sub(r"\$\{\w+:-(\w+)\}", r"\1", value) for key, value in service["environment"].items()
    }
    found = load(variables, directory=tmp_path)
    assert found.require_kafka() == "kafka:9092"
    assert found.clickhouse == "http://wattledger:wattledger@clickhouse:8123/wattledger"
    assert (IMAGES / service["build"]["context"] / service["build"]["dockerfile"]).resolve().is_file()


def test_the_compose_file_mounts_what_exists_and_waits_for_services_it_has() -> None:
    for name, service in COMPOSE["services"].items():
        assert set(service.get("depends_on", {})) <= set(COMPOSE["services"]), name
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in COMPOSE["volumes"] or (IMAGES / source).resolve().exists(), volume
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{name} would be reached from outside"


def test_grafana_is_given_the_ledger_under_the_name_that_dashboards_ask() -> None:
    (source,) = yaml.safe_load((IMAGES / "grafana" / "datasources.yaml").read_text(encoding="utf-8"))[
        "datasources"
    ]
    assert source["type"] == COMPOSE["services"]["grafana"]["environment"]["GF_PLUGINS_PREINSTALL"]
    for dashboard in (ROOT / "helm" / "wattledger" / "dashboards").glob("*.json"):
        assert source["type"] in dashboard.read_text(encoding="utf-8")
