"""What goes into an image, run: its build's own steps in a clean environment, then the role at work.

An image engine is not everywhere; what the Dockerfiles run is in scripts, and these are they.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.meters import nvml_stub
from wattledger.local.broker import Broker
from wattledger.local.processes import end, free_ports, spawn

pytestmark = pytest.mark.timeout(1800)  # a package index answers at its own pace

ROOT = Path(__file__).parents[2]
ROLES = ("agent", "worker", "api")


HOOKED = """
import importlib.metadata as m, numpy, google.protobuf
from producers.hooks.middleware import TenantMiddleware
(plugin,) = [one for one in m.entry_points(group="vllm.general_plugins") if one.name == "wattledger"]
plugin.load()
print(numpy.__version__, google.protobuf.__version__)
"""


def run(*command: str | Path, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        list(map(str, command)), cwd=ROOT, capture_output=True, text=True, check=False, env=clean(env or {})
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def clean(more: dict[str, str]) -> dict[str, str]:
    """This environment without what would let the checkout in."""
    return {
        key: value
        for key, value in os.environ.items()
        if key not in ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME")
    } | more


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("dist")


@pytest.fixture(scope="session")
def images(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each role installed as its Dockerfile does it."""
    found = {}
    for role in ROLES:
        run(ROOT / "images" / "wheel.sh", role, dist)
        found[role] = tmp_path_factory.mktemp("image") / role
        run(ROOT / "images" / role / "install.sh", dist, found[role])
    return found


@contextmanager
def at_work(image: Path, arguments: list[str], env: dict[str, str], log: Path) -> Iterator[None]:
    """The image's program, as its entry point starts it."""
    with log.open("ab") as output:
        process = spawn([str(image / "bin" / "wattledger"), *arguments], output=output, env=clean(env))
    try:
        yield
    finally:
        end(process, grace_s=20)


def health_check(role: str, image: Path, port: int) -> bool:
    """The Dockerfile's own, at another port."""
    text = (ROOT / "images" / role / "Dockerfile").read_text(encoding="utf-8")
    found = re.search(r"HEALTHCHECK.*?CMD (\[.*?\])\n", text, re.DOTALL)
    assert found is not None
    command = json.loads(re.sub(r"127\.0\.0\.1:\d+", f"127.0.0.1:{port}", found[1]))
    command[0] = str(image / "bin" / command[0])
    return subprocess.run(command, capture_output=True, check=False, env=clean({})).returncode == 0


def wait_until_healthy(role: str, image: Path, port: int, log: Path) -> None:
    deadline = time.monotonic() + 90
    while not health_check(role, image, port):
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.5)


@pytest.mark.parametrize("role", ROLES)
def test_the_bill_of_materials_lists_all_that_is_installed(role: str, images: dict[str, Path]) -> None:
    bill = json.loads((images[role] / "sbom.cdx.json").read_text())
    listed = {re.sub(r"[-_.]+", "-", one["name"]).lower() for one in bill["components"]}
    code = "import importlib.metadata as m; print(*{d.metadata['Name'] for d in m.distributions()})"
    installed = {
        re.sub(r"[-_.]+", "-", name).lower()
        for name in run(images[role] / "bin" / "python", "-c", code).split()
    }
    assert installed - {"wattledger", "setuptools"} <= listed


def test_the_agents_image_measures_a_node(images: dict[str, Path], tmp_path: Path) -> None:
    stub = nvml_stub.build(tmp_path)
    stub.write("uuid=GPU-0 power_w=300")
    port, log = free_ports(1)[0], tmp_path / "log"
    env = stub.environment() | {
        "WATTLEDGER_KAFKA": "127.0.0.1:1",
        "WATTLEDGER_SOCKET": str(tmp_path / "agent.sock"),
        "WATTLEDGER_SPOOL": str(tmp_path / "spool.db"),
        "WATTLEDGER_METRICS_PORT": str(port),
    }
    assert not health_check("agent", images["agent"], port)
    with at_work(images["agent"], ["agent"], env, log):
        wait_until_healthy("agent", images["agent"], port, log)


@pytest.mark.kafka
def test_the_workers_image_sets_up_and_books_and_the_apis_serves(
    images: dict[str, Path], kafka: Broker, dsn: str, tmp_path: Path
) -> None:
    env = {
        "WATTLEDGER_KAFKA": kafka.bootstrap,
        "WATTLEDGER_CLICKHOUSE": dsn,
        "NUMBA_CACHE_DIR": str(tmp_path),
    }
    program = images["worker"] / "bin" / "wattledger"
    run(program, "topics", "create", "--partitions", "2", "--replication", "1", env=env)
    assert "applied" in run(program, "migrate", "up", env=env)
    run(program, "migrate", "status", env=env)
    metrics, port, api_metrics = free_ports(3)
    worker = ["worker", "--metrics-port", str(metrics), "--group", f"images-{metrics}"]
    log = tmp_path / "worker.log"
    with at_work(images["worker"], worker, env, log):
        wait_until_healthy("worker", images["worker"], metrics, log)
    log = tmp_path / "api.log"
    serve = ["api", "--port", str(port), "--metrics-port", str(api_metrics)]
    with at_work(images["api"], serve, env | {"WATTLEDGER_SIGNING_KEYS": str(tmp_path / "keys")}, log):
        wait_until_healthy("api", images["api"], port, log)


def test_the_engines_image_gets_the_hook_and_keeps_its_own_numpy_and_protobuf(
    images: dict[str, Path], dist: Path, tmp_path: Path
) -> None:
    assert images  # the wheel is theirs
    engine = tmp_path / "engine"
    run(sys.executable, "-m", "venv", engine)
    python = engine / "bin" / "python3"
    run(python, "-m", "pip", "install", "--quiet", "numpy==2.2.6", "protobuf==6.33.2")
    path = {"PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"}
    run(ROOT / "images" / "engine" / "install.sh", dist, env=path)
    assert run(python, "-c", HOOKED).split() == ["2.2.6", "6.33.2"]
