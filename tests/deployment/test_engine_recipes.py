"""The recipes for engines mount what the chart's agent serves, and name a middleware and settings that exist."""

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from producers.hooks.settings import HookSettings

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "wattledger"
AGENT = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))["agent"]
READ = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "producers" / "hooks").glob("*.py"))


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    """(where, a mapping with volumes and containers) of every recipe."""
    for path in sorted((CHART / "examples").glob("*.yaml")):
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
        if "spec" in found:
            yield path.name, found["spec"]["template"]["spec"]
        else:
            yield from ((f"{path.name}: {part}", found[part]) for part in ("decode", "prefill"))


RECIPES = dict(pods())


def test_there_is_one_for_each_way_to_serve() -> None:
    assert {name.split(":")[0] for name in RECIPES} == {
        "llm-d-values.yaml",
        "sglang-deployment.yaml",
        "vllm-deployment.yaml",
    }


@pytest.mark.parametrize("where", RECIPES)
def test_the_socket_is_where_the_agent_serves_and_the_hook_looks(where: str) -> None:
    pod = RECIPES[where]
    (volume,) = (one for one in pod["volumes"] if one["name"] == "wattledger")
    assert volume["hostPath"]["path"] == AGENT["socket"]["hostPath"]
    (container,) = pod["containers"]
    (mount,) = (one for one in container["volumeMounts"] if one["name"] == "wattledger")
    assert HookSettings().socket == f"{mount['mountPath']}/agent.sock"
    assert not mount.get("readOnly"), "a socket is written to"


@pytest.mark.parametrize("where", RECIPES)
def test_middleware_and_settings_exist(where: str) -> None:
    (container,) = RECIPES[where]["containers"]
    for argument in container["args"]:
        if found := re.fullmatch(r"--middleware=(.*)\.(\w+)", argument):
            assert hasattr(importlib.import_module(found[1]), found[2])
    for variable in container["env"]:
        assert variable["name"] in READ


def test_the_engines_image_installs_with_the_script_and_keeps_the_engines_own() -> None:
    text = (ROOT / "images" / "engine" / "Dockerfile").read_text(encoding="utf-8")
    for source in re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE):
        for one in source.split():
            assert (ROOT / one).exists(), one
    script = (ROOT / "images" / "engine" / "install.sh").read_text(encoding="utf-8")
    assert "--no-deps" in script
    base = re.findall(r'"(\w+)>=', script)
    assert {"numpy", "protobuf"}.isdisjoint(base)
