"""The doctor on a GPU node, against the stand-in for libnvidia-ml: counters that move, stand still, are lost."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.meters.nvml_stub import NvmlStub, build, monotonic_ms


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> NvmlStub:
    return build(tmp_path_factory.mktemp("nvml"))


def examine(stub: NvmlStub, folder: Path, *options: str) -> dict[str, dict[str, str]]:
    done = subprocess.run(
        [sys.executable, "-m", "wattledger", "doctor", "--agent", "--json", "--listen", "0",
         "--spool", str(folder / "spool.db"), "--socket", str(folder / "run" / "agent.sock"), *options],
        env={**stub.environment(), "WATTLEDGER_KAFKA": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr  # no Kafka here
    return {finding["name"]: finding for finding in json.loads(done.stdout)["findings"]}


def test_each_gpu_is_read_twice_and_what_stands_still_or_is_lost_is_named(
    stub: NvmlStub, tmp_path: Path
) -> None:
    stub.write(
        f"uuid=GPU-busy power_w=350 zero_ms={monotonic_ms() - 60_000}",
        f"uuid=GPU-hung power_w=0 zero_ms={monotonic_ms() - 60_000}",
        "uuid=GPU-old power_w=350 counter=0",
    )
    found = examine(stub, tmp_path)
    assert found["GPU GPU-busy"]["status"] == "ok"
    assert "counter counter moves" in found["GPU GPU-busy"]["detail"]
    assert found["GPU GPU-hung"]["status"] == "failed"
    assert "stands still" in found["GPU GPU-hung"]["detail"]
    assert found["GPU GPU-old"]["status"] == "ok"
    assert "integrated" in found["GPU GPU-old"]["detail"]
    assert found["spool"]["status"] == "ok"
    assert found["socket"]["status"] == "failed"
    assert "install -d" in found["socket"]["fix"]
    assert found["broker"]["fix"] == "set WATTLEDGER_KAFKA=host:port"
    assert "database" not in found


def test_a_driver_that_is_not_loaded_is_said_with_the_remedy(stub: NvmlStub, tmp_path: Path) -> None:
    stub.write("init_error=9")
    found = examine(stub, tmp_path)
    assert found["GPUs"]["status"] == "failed"
    assert "nvidia-smi" in found["GPUs"]["detail"]


def test_a_key_that_others_can_read_or_that_is_none_is_named(stub: NvmlStub, tmp_path: Path) -> None:
    stub.write(f"uuid=GPU-busy power_w=350 zero_ms={monotonic_ms() - 60_000}")
    made = subprocess.run(
        [sys.executable, "-m", "wattledger", "nodes", "key", str(tmp_path / "k.pem"), "--node", "a/b"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert 'node = "a/b"' in made.stdout
    (tmp_path / "k.pem").chmod(0o644)
    found = examine(stub, tmp_path, "--node-key", str(tmp_path / "k.pem"))
    assert found["node key"]["fix"] == f"chmod 600 {tmp_path / 'k.pem'}"
    assert examine(stub, tmp_path, "--node-key", str(tmp_path / "no.pem"))["node key"]["status"] == "failed"
