"""Render the chart with the real Helm, and look into what comes out."""

import os
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "wattledger"
VALUES = sorted((CHART / "ci").glob("*-values.yaml"))
OLDEST, NEWEST = "1.28", "1.36"
"""Versions of Kubernetes that manifests are validated for; Chart.yaml and tools/helm-env name them too."""

Manifest = dict[str, Any]


def tool(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run one of the tools of tools/helm-env."""
    command = [str(Path(os.environ["WATTLEDGER_HELM_TOOLS"]) / name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


def template(values: Path, *settings: str, kubernetes: str = NEWEST) -> subprocess.CompletedProcess[str]:
    """`helm template` with a file of values, and `--set` for each of `settings`."""
    sets = [argument for setting in settings for argument in ("--set", setting)]
    return tool(
        "helm",
        "template",
        "rel",
        CHART,
        "-n",
        "energy",
        "-f",
        values,
        "--kube-version",
        f"{kubernetes}.0",
        *sets,
    )


@cache
def render(name: str, *settings: str) -> tuple[Manifest, ...]:
    """The manifests of `ci/NAME-values.yaml`."""
    done = template(CHART / "ci" / f"{name}-values.yaml", *settings)
    assert done.returncode == 0, done.stderr
    return tuple(one for one in yaml.safe_load_all(done.stdout) if one)


def find(manifests: tuple[Manifest, ...], kind: str, suffix: str = "") -> Manifest:
    """The one manifest of `kind` whose name ends in `suffix`."""
    (found,) = (one for one in manifests if one["kind"] == kind and one["metadata"]["name"].endswith(suffix))
    return found


def pods(manifests: tuple[Manifest, ...]) -> Iterator[tuple[str, Manifest]]:
    """Every pod that comes of them, with the name of what makes it: its template."""
    for one in manifests:
        if one["kind"] == "Pod":
            yield f"Pod/{one['metadata']['name']}", one
        spec = one.get("spec", {})
        if one["kind"] == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        if one["kind"] in ("Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob"):
            yield f"{one['kind']}/{one['metadata']['name']}", spec["template"]


def containers(pod: Manifest) -> list[Manifest]:
    """All of a pod template's, those that begin it included."""
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]
