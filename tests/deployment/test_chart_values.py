"""The chart's values: each documented, each in the schema, nothing else let in; no tool needed to check it."""

import json
import tomllib
from collections.abc import Iterator
from typing import Any

import yaml

from streams.split import METHODS
from tests.helm.charts import NEWEST, OLDEST, ROOT
from tools.helm_docs import CHART, readme, values

TEXT = (CHART / "values.yaml").read_text(encoding="utf-8")
DEFAULTS = yaml.safe_load(TEXT)
SCHEMA = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
FREE = (
    "labels",
    "annotations",
    "nodeSelector",
    "podLabels",
    "podAnnotations",
    "affinity",
    "requests",
    "limits",
)


def leaves(node: Any, path: str = "") -> Iterator[str]:
    """Paths of what is no mapping, or an empty one."""
    if isinstance(node, dict) and node:
        for key, value in node.items():
            yield from leaves(value, f"{path}.{key}".lstrip("."))
    else:
        yield path


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        found: dict[str, Any] = SCHEMA["$defs"][schema["$ref"].rsplit("/", 1)[1]]
        return found
    return schema


def test_every_value_is_documented() -> None:
    documented = [one.path for one in values(TEXT)]
    silent = [
        leaf
        for leaf in leaves(DEFAULTS)
        if not any(leaf == path or leaf.startswith(f"{path}.") for path in documented)
    ]
    assert silent == []


def test_the_readmes_table_is_what_the_values_say() -> None:
    page = (CHART / "README.md").read_text(encoding="utf-8")
    assert page == readme(page, values(TEXT)), "run `make generate`"


def test_the_schema_knows_the_values_and_no_others() -> None:
    def compare(schema: dict[str, Any], defaults: dict[str, Any], path: str) -> None:
        schema = resolved(schema)
        assert schema.get("additionalProperties") is False, f"{path} lets anything in"
        assert set(schema["properties"]) - {"global", "claims"} == set(defaults), path
        for key, value in defaults.items():
            if isinstance(value, dict) and key not in FREE:
                compare(schema["properties"][key], value, f"{path}.{key}")

    compare(SCHEMA, DEFAULTS, "values")


def test_the_versions_of_kubernetes_are_the_same_wherever_they_are_named() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert chart["kubeVersion"] == f">={OLDEST}.0-0"
    assert f"KUBERNETES=v{NEWEST}." in (ROOT / "tools" / "helm-env").read_text(encoding="utf-8")
    page = (ROOT / "docs" / "operations" / "install.md").read_text(encoding="utf-8")
    assert f"validated against {OLDEST} and {NEWEST}" in page


def test_the_chart_is_of_the_programs_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert chart["appVersion"] == project["version"]


def test_the_methods_are_the_workers() -> None:
    assert SCHEMA["properties"]["worker"]["properties"]["method"]["enum"] == list(METHODS)


def test_no_value_is_made_for_a_secret() -> None:
    """Names of Secrets and of their keys, never what they hold."""
    for leaf in leaves(DEFAULTS):
        name = leaf.rsplit(".", 1)[1] if "." in leaf else leaf
        if "password" in name.lower() or "token" in name.lower():
            assert name == "passwordKey", leaf
