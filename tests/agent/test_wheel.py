"""The extra `agent` is enough for a node: the built wheel, in an environment with nothing else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROBE = """
import importlib.util, sys
import producers.agent.service, wattledger.commands.agent, producers.hooks.vllm
unwanted = ("faust", "clickhouse_connect", "chdb", "pyarrow", "numba")
absent = [name for name in unwanted if importlib.util.find_spec(name)]
assert not absent, absent
"""
HOOK_PROBE = """
import importlib.util
import producers.hooks.vllm, producers.hooks.sglang, producers.hooks.middleware, producers.hooks.transformers
assert importlib.util.find_spec("confluent_kafka") is None
"""


def run(*command: str) -> str:
    environment = {
        key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "PYTHONPATH")
    }
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_agent_and_the_hooks_need_no_more_than_they_say(tmp_path: Path) -> None:
    uv = str(ROOT / "tools" / "uv")
    run(uv, "build", "--quiet", "--wheel", "--out-dir", str(tmp_path))
    (wheel,) = tmp_path.glob("*.whl")
    for extra, probe in (("[agent]", PROBE), ("", HOOK_PROBE)):
        folder = tmp_path / f"venv{len(extra)}"
        python = str(folder / "bin" / "python")
        run(uv, "venv", "--quiet", "--python", sys.executable, str(folder))
        run(uv, "pip", "install", "--quiet", "--python", python, f"wattledger{extra} @ {wheel.as_uri()}")
        run(python, "-c", probe)
        if extra:
            assert "WATTLEDGER_KAFKA=broker:9092" in run(
                str(folder / "bin" / "wattledger"), "agent", "--help"
            )
