"""The chart renders, lints and validates with every file of values, for the oldest and the newest Kubernetes."""

from pathlib import Path

import pytest

from tests.helm.charts import CHART, NEWEST, OLDEST, ROOT, VALUES, template, tool

CRDS = ROOT / "tests" / "helm" / "crds"
SCHEMAS = {
    OLDEST: ["--version", OLDEST],
    # Newer than what kubectl-validate has built in: Kubernetes' own files replace the last that it has.
    NEWEST: ["--version", "1.30", "--local-schemas", str(ROOT / ".cache" / "kubernetes")],
}
NAMES = [path.name.removesuffix("-values.yaml") for path in VALUES]
POD = """
apiVersion: v1
kind: Pod
metadata: {name: one}
spec:
  %s
  containers: [{name: a, image: b}]
"""


def validate(version: str, *paths: Path) -> tuple[int, str]:
    done = tool("kubectl-validate", *paths, "--local-crds", CRDS, *SCHEMAS[version])
    return done.returncode, done.stdout + done.stderr


def test_there_is_a_file_for_every_way_to_install() -> None:
    assert {
        "minimal", "production", "no-prometheus", "air-gapped", "tls-sasl", "mutual-tls", "single-node", "keda-off",
        "clusters-edge", "clusters-central",
    } <= set(NAMES)  # fmt: skip


@pytest.mark.parametrize("path", VALUES, ids=NAMES)
def test_it_lints_without_a_warning(path: Path) -> None:
    done = tool("helm", "lint", "--strict", CHART, "-f", path, "--kube-version", f"{NEWEST}.0")
    assert done.returncode == 0, done.stdout
    assert "[WARNING]" not in done.stdout


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_what_it_renders_is_what_kubernetes_and_the_operators_know(tmp_path: Path, version: str) -> None:
    for path in VALUES:
        done = template(path, kubernetes=version)
        assert done.returncode == 0, done.stderr
        (tmp_path / path.name).write_text(done.stdout)
    status, said = validate(version, tmp_path)
    assert status == 0, said
    assert said.count("OK") == len(VALUES)


def test_the_validator_sees_what_is_wrong_and_knows_its_version(tmp_path: Path) -> None:
    """Or the test above would pass for ever."""
    known, newer = tmp_path / "known.yaml", tmp_path / "newer.yaml"
    known.write_text(POD % "hostnames: misspelt")
    newer.write_text(POD % "hostnameOverride: since-1-34")
    for version, path, fits in ((OLDEST, known, False), (OLDEST, newer, False), (NEWEST, newer, True)):
        status, said = validate(version, path)
        assert (status == 0) is fits, said
    monitor = tmp_path / "monitor.yaml"
    monitor.write_text(
        "apiVersion: monitoring.coreos.com/v1\nkind: ServiceMonitor\nmetadata: {name: a}\nspec: {endpoints: 3}\n"
    )
    assert validate(NEWEST, monitor)[0] != 0


def test_an_older_kubernetes_is_refused_by_name() -> None:
    done = template(VALUES[0], kubernetes="1.27")
    assert done.returncode != 0
    assert "1.28" in done.stderr


def test_the_charts_own_unit_tests_pass() -> None:
    done = tool("helm-unittest", "--strict", CHART)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("name", ["vllm-deployment", "sglang-deployment"])
def test_the_recipes_for_engines_are_manifests(version: str, name: str) -> None:
    status, said = validate(version, CHART / "examples" / f"{name}.yaml")
    assert status == 0, said
