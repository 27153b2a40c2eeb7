"""`wattledger api` as a process: it says where it listens, answers a real client, and ends when it is told to."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2 as httpx
import pytest

from tests.answers.conftest import Ledger


@contextmanager
def serving(ledger: Ledger, directory: Path, *options: str) -> "Iterator[tuple[subprocess.Popen[str], str]]":
    env = {
        **os.environ,
        "WATTLEDGER_CLICKHOUSE": ledger.dsn,
        "WATTLEDGER_SIGNING_KEYS": str(directory / "keys"),
    }
    command = [sys.executable, "-u", "-m", "wattledger", "api", "--port", "0", *options]
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert process.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
        assert found is not None
        yield process, found[0]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM])
def test_it_answers_until_it_is_told_to_stop(ledger: Ledger, tmp_path: Path, told: signal.Signals) -> None:
    with (
        serving(ledger, tmp_path, "--open-page") as (process, address),
        httpx.Client(base_url=address) as http,
    ):
        assert "The fleet now" in http.get("/").text
        assert http.get("/tenants").status_code == 200
        assert http.get("/v1/keys").json()["keys"]
        process.send_signal(told)
        assert process.wait(timeout=30) == 0
        with pytest.raises(httpx.ConnectError):
            http.get("/health")


def test_a_port_that_is_taken_is_said_so(ledger: Ledger, tmp_path: Path) -> None:
    with serving(ledger, tmp_path) as (_, address):
        port = address.rpartition(":")[2]
        env = {
            **os.environ,
            "WATTLEDGER_CLICKHOUSE": ledger.dsn,
            "WATTLEDGER_SIGNING_KEYS": str(tmp_path / "keys"),
        }
        command = [sys.executable, "-m", "wattledger", "api", "--port", port]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 2
        assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
        assert "Traceback" not in done.stderr
