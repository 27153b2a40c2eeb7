"""What the chart installs: as little power as it takes, and commands and settings that the program really has."""

from collections.abc import Iterator

import click
import pytest

from tests.deployment.commands import parse
from tests.helm.charts import VALUES, Manifest, containers, find, pods, render
from wattledger import settings
from wattledger.__main__ import cli

NAMES = [path.name.removesuffix("-values.yaml") for path in VALUES]


def every_container() -> Iterator[tuple[str, Manifest, Manifest]]:
    """(where, pod template, container) of all files of values."""
    for name in NAMES:
        for where, pod in pods(render(name)):
            for container in containers(pod):
                yield f"{name}: {where}/{container['name']}", pod, container


def variables(container: Manifest) -> dict[str, Manifest]:
    return {one["name"]: one for one in container.get("env", [])}


def test_no_container_has_a_capability_a_writable_root_or_a_way_up() -> None:
    for where, _, container in every_container():
        held = container["securityContext"]
        assert held["readOnlyRootFilesystem"] is True, where
        assert held["allowPrivilegeEscalation"] is False, where
        assert held["capabilities"]["drop"] == ["ALL"], where
        # The one exception gives the node's directories to the agent, and ends.
        more = held["capabilities"].get("add", [])
        assert more == (["CHOWN"] if where.endswith("/directories") else []), where


def test_only_an_agent_that_is_told_to_runs_as_root() -> None:
    for where, pod, container in every_container():
        root = (
            pod["spec"]["securityContext"]["runAsUser"] == 0
            or container["securityContext"].get("runAsUser") == 0
        )
        assert root == (where.endswith("/directories") or where.startswith("single-node: DaemonSet")), where


def test_nobody_gets_a_token_of_kubernetes() -> None:
    assert all(pod["spec"]["automountServiceAccountToken"] is False for _, pod, _ in every_container())


def test_no_secret_is_made_and_none_stands_in_a_manifest() -> None:
    for name in NAMES:
        assert not [one for one in render(name) if one["kind"] == "Secret"]
    for where, _, container in every_container():
        for variable, said in variables(container).items():
            if variable.endswith(("PASSWORD", "TOKEN", "USERNAME")):
                assert "secretKeyRef" in said["valueFrom"], (where, variable)


@pytest.mark.parametrize("name", NAMES)
def test_every_argument_is_one_that_the_command_has(name: str) -> None:
    for _, pod in pods(render(name)):
        for container in containers(pod):
            if "command" in container:
                continue
            # Files that the pod mounts are not here.
            parse([one for one in container["args"] if not one.startswith("--file=")])


def test_every_variable_is_one_that_the_program_reads() -> None:
    known = {f"WATTLEDGER_{one.name.upper()}" for one in settings.fields(settings.Settings)}
    for role in ("agent", "worker"):
        command = cli.get_command(click.Context(cli), role)
        assert command is not None
        known |= {str(option.envvar) for option in command.params if option.envvar}
    used = {name for _, _, container in every_container() for name in variables(container)}
    assert {name for name in used if name.startswith("WATTLEDGER_")} <= known


def test_every_long_running_role_has_probes_on_its_endpoint() -> None:
    manifests = render("production")
    for kind, suffix, live, ready in (
        ("DaemonSet", "-agent", "/live", "/ready"),
        ("StatefulSet", "-worker", "/live", "/ready"),
        ("Deployment", "-api", "/health", "/health"),
    ):
        (container,) = find(manifests, kind, suffix)["spec"]["template"]["spec"]["containers"]
        ports = {port["name"] for port in container["ports"]}
        for probe, path in (("livenessProbe", live), ("readinessProbe", ready), ("startupProbe", None)):
            asked = container[probe]["httpGet"]
            assert asked["port"] in ports
            assert path is None or asked["path"] == path


@pytest.mark.parametrize("name", [name for name in NAMES if name != "single-node"])
def test_every_pod_is_under_a_policy_that_names_its_way_out(name: str) -> None:
    manifests = render(name)
    policies = [one["spec"] for one in manifests if one["kind"] == "NetworkPolicy"]
    for where, pod in pods(manifests):
        labels = pod["metadata"]["labels"]
        mine = [one for one in policies if one["podSelector"]["matchLabels"].items() <= labels.items()]
        assert len(mine) == 1, where
        assert set(mine[0]["policyTypes"]) == {"Ingress", "Egress"}, where
        for rule in mine[0]["egress"]:
            assert rule["to"], where
            assert rule["ports"], where
        used = {variable for container in containers(pod) for variable in variables(container)}
        open_ports = {port["port"] for rule in mine[0]["egress"] for port in rule["ports"]}
        for variable in used & {"WATTLEDGER_KAFKA", "WATTLEDGER_CLICKHOUSE"}:
            (value,) = {
                variables(container)[variable]["value"]
                for container in containers(pod)
                if variable in variables(container)
            }
            port = value.split("/wattledger")[0].split("/energy")[0].rsplit(":", 1)[-1]
            assert (int(port) if port.isdigit() else 8443) in open_ports, (where, variable)


def test_jobs_run_in_their_order() -> None:
    manifests = render("production")
    phases = []
    for suffix in ("-setup", "-topics", "-migrate", "-verify"):
        (one,) = (
            one
            for one in manifests
            if one["metadata"]["name"].endswith(suffix) and "annotations" in one["metadata"]
        )
        hook = one["metadata"]["annotations"]
        phases.append((hook["helm.sh/hook"].startswith("post"), int(hook["helm.sh/hook-weight"])))
    assert phases == sorted(phases)


def test_selectors_hold_nothing_that_an_upgrade_changes() -> None:
    for where, pod in pods(render("production")):
        assert "helm.sh/chart" not in pod["metadata"]["labels"], where


def test_an_edge_cluster_has_agents_and_nothing_that_books() -> None:
    kinds = {one["kind"] for one in render("clusters-edge")}
    assert {"StatefulSet", "Deployment", "Job", "CronJob", "Ingress"}.isdisjoint(kinds)
    assert "DaemonSet" in kinds
