"""An agent whose disk is full, by ENOSPC from below SQLite: it lives, meters, says so, goes on without a hole."""

import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from tests.agent.test_agent import Rig, record
from tests.meters import nvml_stub
from tests.meters.nvml_stub import NvmlStub
from wattledger.local.processes import free_ports

SOURCE = Path(__file__).with_name("full_disk.c")


@dataclass(frozen=True)
class Disk(NvmlStub):
    """A node's GPUs, and a disk that can be full."""

    @property
    def library(self) -> Path:
        return self.folder / "full_disk.so"

    @property
    def full(self) -> Path:
        """The disk is full while this exists."""
        return self.folder / "full"

    @property
    def node(self) -> Path:
        """The agent's folder; its spool alone lies on that disk, or nobody would hear that it is full."""
        return self.folder / "node"

    def environment(self) -> dict[str, str]:
        return {
            **super().environment(),
            "LD_PRELOAD": str(self.library),
            "FULL_DISK_PREFIX": str(self.node / "spool.db"),
            "FULL_DISK_SWITCH": str(self.full),
        }


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    disk = Disk(nvml_stub.build(tmp_path).folder)
    options = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(["gcc", *options, "-o", str(disk.library), str(SOURCE), "-ldl"], check=True)
    disk.write("uuid=GPU-0 power_w=300", "uuid=GPU-1 power_w=100")
    disk.node.mkdir()
    rig = Rig(disk, disk.node)
    yield rig
    for recorder in rig.recorders:
        recorder.stop()
    if rig.process is not None:
        rig.process.kill()
        rig.process.wait()


def metric(port: int, name: str) -> float:
    """One sample of what the agent tells Prometheus."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))


def test_a_full_disk_is_said_and_outlived_and_leaves_no_hole(rig: Rig) -> None:
    port = free_ports(1)[0]
    rig.start("--metrics-port", str(port))
    recorder = rig.engine("a", "GPU-0")
    record(recorder, "before")
    rig.wait_for(lambda: any("before" in frame.request_client_id for frame in rig.iterations()))
    assert isinstance(rig.stub, Disk)
    rig.stub.full.touch()
    rig.wait_for(lambda: "the spool's disk takes nothing" in rig.log)
    assert metric(port, "wattledger_agent_spool_disk_failing") == 1
    record(recorder, "meanwhile")
    metered = metric(port, 'wattledger_agent_frames_total{stream="energy"}')
    heard = metric(port, 'wattledger_agent_frames_total{stream="iterations"}')
    on_disk = len(rig.energy())
    rig.wait_for(lambda: metric(port, 'wattledger_agent_frames_total{stream="energy"}') > metered + 6)
    rig.wait_for(lambda: metric(port, 'wattledger_agent_frames_total{stream="iterations"}') > heard + 6)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/live", timeout=5) as answer:
        assert answer.status == 200
    assert len(rig.energy()) == on_disk
    assert not any("meanwhile" in frame.request_client_id for frame in rig.iterations())
    rig.stub.full.unlink()
    rig.wait_for(lambda: "takes frames again" in rig.log)
    rig.wait_for(lambda: any("meanwhile" in frame.request_client_id for frame in rig.iterations()))
    assert metric(port, "wattledger_agent_spool_disk_failing") == 0
    rig.stop()
    assert "gave up" not in rig.log
    assert rig.log.count("takes nothing") == 1
    iterations = rig.iterations()
    assert [frame.sequence for frame in iterations] == list(range(len(iterations)))
    assert all(one.end_ns == two.start_ns for one, two in pairwise(iterations))
    mine = [frame for frame in rig.energy() if frame.group_id == "c/n1/a"]
    assert [frame.sequence for frame in mine] == list(range(len(mine)))
    assert all(one.end_ns == two.start_ns for one, two in pairwise(mine))


def test_what_an_engine_sent_to_an_agent_that_dies_with_a_full_disk_it_sends_again(rig: Rig) -> None:
    rig.start()
    recorder = rig.engine("a", "GPU-0")
    assert isinstance(rig.stub, Disk)
    rig.stub.full.touch()
    rig.wait_for(lambda: "the spool's disk takes nothing" in rig.log)
    record(recorder, "in memory")
    rig.stop()
    assert "messages are lost" in rig.log
    assert not any("in memory" in frame.request_client_id for frame in rig.iterations())
    rig.stub.full.unlink()
    rig.start()
    rig.wait_for(lambda: any("in memory" in frame.request_client_id for frame in rig.iterations()))
    rig.stop()
    sequences = [frame.sequence for frame in rig.iterations()]
    assert sequences == list(range(len(sequences)))
