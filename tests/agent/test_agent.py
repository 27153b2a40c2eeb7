"""The agent as users run it, on a scripted libnvidia-ml below the real binding, with real hooks, Kafka away.

What it would publish is read from its spool: with no broker nothing leaves it, which is a claim of its own.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from producers.agent.spool import ON_THEIR_WAY, Spool
from producers.hooks.contract import Admission, EngineFacts, Entry, Step
from producers.hooks.recorder import Recorder
from producers.hooks.settings import HookSettings
from schemas.energy import EnergyFrame
from schemas.errors import AgentUnavailable
from schemas.frames import decode_energy, decode_iterations
from schemas.iterations import UNRECORDED, IterationFrame
from schemas.side_input_codec import decode_engine, decode_load
from schemas.side_inputs import EngineDescriptor, Load
from schemas.topics import ENERGY, ENGINES, ITERATIONS, LOADS
from tests.meters import nvml_stub
from tests.meters.nvml_stub import NvmlStub
from wattledger.commands.agent_status import command as status
from wattledger.local.processes import free_ports


@dataclass
class Rig:
    """A node: its GPUs, its agent's folder, and the agent while it runs."""

    stub: NvmlStub
    folder: Path
    process: subprocess.Popen[bytes] | None = None
    recorders: list[Recorder] = field(default_factory=list)

    @property
    def socket(self) -> Path:
        return self.folder / "agent.sock"

    @property
    def log(self) -> str:
        """What the agent said so far, over all its runs."""
        return (self.folder / "agent.log").read_text()

    def start(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "wattledger", "agent", "--socket", str(self.socket), "--node", "n1"]
        command += [
            "--cluster",
            "c",
            "--zone",
            "DE",
            "--spool",
            str(self.folder / "spool.db"),
            "--metrics-port",
            "0",
        ]
        environment = {**self.stub.environment(), "WATTLEDGER_KAFKA": "127.0.0.1:1"}
        with (self.folder / "agent.log").open("a") as log:
            self.process = subprocess.Popen([*command, *arguments], env=environment, stderr=log)
        self.wait_for(self.socket.exists)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        assert self.process is not None
        self.process.send_signal(number)
        self.process.wait(60)
        if number is signal.SIGTERM:
            assert self.process.returncode == 0, self.log
        self.process = None

    def engine(self, name: str, *gpus: str) -> Recorder:
        """A hook that is connected and has a frame out."""
        facts = EngineFacts(name, "engine 1", "tiny", "bfloat16", gpus)
        recorder = Recorder(facts, one_request, HookSettings(socket=str(self.socket), frame_s=0.05))
        recorder.start()
        self.recorders.append(recorder)
        self.wait_for(lambda: any(f"/{name}" in frame.engine_id for frame in self.iterations()))
        return recorder

    def wait_for(self, condition: Callable[[], object], timeout_s: float = 60) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            if self.process is not None and self.process.poll() is not None:
                raise AssertionError(self.log)
            assert time.monotonic() < deadline, f"in vain; the agent said: {self.log}"
            time.sleep(0.05)

    def spooled(self, topic: str) -> list[tuple[str, bytes]]:
        spool = Spool(self.folder / "spool.db", 1 << 40)
        found = [(m.key, m.value) for m in spool.after(0, 10**6) if m.topic == topic]
        spool.close()
        return found

    def energy(self) -> list[EnergyFrame]:
        return [decode_energy(value) for _, value in self.spooled(ENERGY)]

    def iterations(self) -> list[IterationFrame]:
        return [decode_iterations(value) for _, value in self.spooled(ITERATIONS)]

    def engines(self) -> list[EngineDescriptor]:
        return [decode_engine(value) for _, value in self.spooled(ENGINES)]

    def loads(self) -> list[Load]:
        return [decode_load(value) for _, value in self.spooled(LOADS)]

    def metered_for(self, seconds: float, group: str = "spare") -> None:
        """Wait until the group's frames speak of so much time."""
        mine = f"c/n1/{group}"

        def long_enough() -> bool:
            frames = [frame for frame in self.energy() if frame.group_id == mine]
            return bool(frames) and frames[-1].end_ns - frames[0].start_ns >= seconds * 1e9

        self.wait_for(long_enough)


def one_request(payload: str, start_ns: int, end_ns: int) -> Step:
    entry = Entry(0, Admission(payload, "acme", prompt_tokens=1))
    return Step(start_ns, end_ns, {payload: 1}, 1, {payload: entry}, emitted=None)


def record(recorder: Recorder, key: str) -> None:
    opened = recorder.open()
    assert opened is not None
    recorder.close(opened, key)


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> NvmlStub:
    return nvml_stub.build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def rig(stub: NvmlStub, tmp_path: Path) -> Iterator[Rig]:
    stub.write("uuid=GPU-0 power_w=300", "uuid=GPU-1 power_w=100", "uuid=GPU-2 power_w=50 mig=MIG-a,MIG-b")
    rig = Rig(stub, tmp_path)
    yield rig
    for recorder in rig.recorders:
        recorder.stop()
    if rig.process is not None:
        rig.process.kill()
        rig.process.wait()


def joules(frames: list[EnergyFrame], meter_id: str) -> float:
    """Energy of one meter over all groups and epochs, first to last reading of each."""
    first: dict[tuple[str, str], int] = {}
    last: dict[tuple[str, str], int] = {}
    for frame in frames:
        for index, meter in enumerate(frame.meters):
            mine = frame.reading_uj[frame.reading_meter == index].tolist()
            if meter.meter_id == meter_id and mine:
                first.setdefault((frame.group_id, meter.epoch), mine[0])
                last[frame.group_id, meter.epoch] = mine[-1]
    return sum(last[key] - first[key] for key in first) / 1e6


def test_frames_of_energy_and_iterations_meet_in_the_engines_group(rig: Rig) -> None:
    rig.start()
    recorder = rig.engine("a", "GPU-0")
    record(recorder, "r1")
    rig.wait_for(lambda: any(frame.request_client_id == ("r1",) for frame in rig.iterations()))
    rig.stop()
    assert {(f.engine_id, f.group_id) for f in rig.iterations()} == {("c/n1/a", "c/n1/a")}
    mine = [frame for frame in rig.energy() if frame.group_id == "c/n1/a"]
    assert {frame.engines for frame in mine} == {("c/n1/a",)}
    assert {m.meter_id for frame in mine for m in frame.meters} == {"GPU-0", "host:n1:c/n1/a"}
    assert {key for key, _ in rig.spooled(ITERATIONS)} == {"c/n1/a"}
    (descriptor,) = rig.engines()
    assert (descriptor.engine_id, descriptor.zone, descriptor.gpu_uuids) == ("c/n1/a", "DE", ("GPU-0",))
    assert descriptor.gpu_model == "NVIDIA Stub 80GB"


def test_energy_frames_follow_each_other_and_their_slope_is_the_power(rig: Rig) -> None:
    rig.start()
    rig.metered_for(4)
    rig.stop()
    frames = [frame for frame in rig.energy() if frame.group_id == "c/n1/spare"]
    assert [frame.sequence for frame in frames] == list(range(len(frames)))
    assert all(a.end_ns == b.start_ns for a, b in pairwise(frames))
    times = np.concatenate([frame.reading_time_ns[frame.reading_meter == 0] for frame in frames])
    energy = np.concatenate([frame.reading_uj[frame.reading_meter == 0] for frame in frames])
    assert (np.diff(times) > 0).all()
    watts = (energy[-1] - energy[1]) * 1000 / (times[-1] - times[1])
    assert watts == pytest.approx(300, rel=0.05)


def test_a_gpu_that_changes_groups_loses_no_joule_and_is_never_in_two(rig: Rig) -> None:
    rig.start()
    rig.metered_for(1)
    recorder = rig.engine("a", "GPU-0")
    rig.metered_for(1, "a")
    recorder.stop()
    rig.stop()
    frames = rig.energy()
    times, readings = [], []
    for frame in frames:
        for index, meter in enumerate(frame.meters):
            if meter.meter_id == "GPU-0":
                times += frame.reading_time_ns[frame.reading_meter == index].tolist()
                readings += frame.reading_uj[frame.reading_meter == index].tolist()
    total = (max(readings) - min(readings)) / 1e6
    assert total == pytest.approx(300 * (max(times) - min(times)) / 1e9, rel=0.15)
    assert joules(frames, "GPU-0") == pytest.approx(total)


def test_a_group_that_is_no_more_lets_its_time_go_on_so_that_its_last_window_closes(rig: Rig) -> None:
    rig.stub.write("uuid=GPU-0 power_w=300")
    rig.start()
    rig.metered_for(1)
    rig.engine("a", "GPU-0")
    rig.metered_for(2, "a")
    rig.stop()
    spare = [frame for frame in rig.energy() if frame.group_id == "c/n1/spare"]
    mine = [frame for frame in rig.energy() if frame.group_id == "c/n1/a"]
    assert spare[-1].end_ns == mine[-1].end_ns == spare[-1].watermark_ns
    assert spare[-1].meters == ()
    assert [frame.sequence for frame in spare] == list(range(len(spare)))


def test_engines_that_share_a_gpu_are_one_group_and_their_frames_say_so(rig: Rig) -> None:
    rig.start()
    rig.engine("a", "GPU-0", "MIG-a")
    rig.engine("b", "MIG-b")
    rig.wait_for(lambda: sum(f.group_id == "c/n1/a+b" for f in rig.iterations()) > 8)
    rig.stop()
    joint = [frame for frame in rig.energy() if frame.group_id == "c/n1/a+b"]
    assert joint[0].engines == ("c/n1/a", "c/n1/b")
    gpus = {m.meter_id for f in joint for m in f.meters if m.kind == "gpu"}
    # A slice has no meter: its parent is read once, for both.
    assert gpus == {"GPU-0", "GPU-2"}
    assert {f.engine_id for f in rig.iterations() if f.group_id == "c/n1/a+b"} == {"c/n1/a", "c/n1/b"}


def test_a_restart_of_the_agent_loses_nothing(rig: Rig) -> None:
    rig.start()
    recorder = rig.engine("a", "GPU-0")
    record(recorder, "before")
    rig.wait_for(lambda: any("before" in f.request_client_id for f in rig.iterations()))
    rig.stop(signal.SIGKILL)
    record(recorder, "meanwhile")
    rig.start()
    rig.wait_for(lambda: any("meanwhile" in f.request_client_id for f in rig.iterations()))
    rig.stop()
    sequences = [frame.sequence for frame in rig.iterations()]
    assert sequences == list(range(len(sequences)))
    mine = [frame for frame in rig.energy() if frame.group_id == "c/n1/a"]
    assert [frame.sequence for frame in mine] == list(range(len(mine)))
    assert len({frame.incarnation for frame in mine}) == 2
    # The same counter, the same epoch: what was drawn meanwhile is the difference.
    assert len({m.epoch for f in mine for m in f.meters if m.meter_id == "GPU-0"}) == 1


def test_a_lost_gpu_does_not_stop_the_others(rig: Rig) -> None:
    rig.start()
    rig.metered_for(1)
    rig.stub.write("uuid=GPU-0 power_w=300 lost=1", "uuid=GPU-1 power_w=100", "uuid=GPU-2 power_w=50")
    rig.wait_for(lambda: "GPU is lost" in rig.log)
    rig.metered_for((rig.energy()[-1].end_ns - rig.energy()[0].start_ns) / 1e9 + 2)
    rig.stop()
    last = rig.energy()[-1]
    assert {m.meter_id for m in last.meters if m.kind == "gpu"} == {"GPU-1", "GPU-2"}
    assert rig.log.count("GPU is lost") < 5


def test_loads_are_published_once_and_shown_while_they_run(rig: Rig) -> None:
    rig.start()
    recorder = rig.engine("a", "GPU-0")
    load_id = recorder.loads.started("wake_up", "tiny")
    rig.wait_for(lambda: any(f.loads and f.loads[0].end_ns == 0 for f in rig.energy()))
    recorder.loads.ended(load_id)
    rig.wait_for(rig.loads)
    shown = len(rig.energy())
    rig.wait_for(lambda: len(rig.energy()) > shown + 1)
    rig.stop()
    (load,) = rig.loads()
    assert (load.load_id, load.group_id, load.engine_id) == (load_id, "c/n1/a", "c/n1/a")


def test_a_claim_on_a_gpu_that_is_not_here_is_refused_by_name(rig: Rig) -> None:
    rig.start()
    facts = EngineFacts("x", "engine 1", "tiny", "bfloat16", ("GPU-9",))
    recorder = Recorder(facts, one_request, HookSettings(socket=str(rig.socket), frame_s=0.05))
    recorder.start()
    rig.wait_for(lambda: "claims a GPU that this node's agent does not see: GPU GPU-9" in rig.log)
    recorder.stop()
    rig.stop()
    assert rig.iterations() == []


def test_two_living_engines_cannot_bear_one_name(rig: Rig) -> None:
    rig.start()
    rig.engine("a", "GPU-0")
    facts = EngineFacts("a", "engine 1", "tiny", "bfloat16", ("GPU-1",))
    second = Recorder(facts, one_request, HookSettings(socket=str(rig.socket), frame_s=0.05))
    second.start()
    rig.wait_for(lambda: "WATTLEDGER_ENGINE" in rig.log)
    second.stop()
    rig.stop()
    assert {frame.incarnation for frame in rig.iterations()} == {rig.recorders[0].incarnation}


def test_only_the_users_that_are_named_are_let_in(rig: Rig) -> None:
    rig.start("--uids", "12345")
    facts = EngineFacts("a", "engine 1", "tiny", "bfloat16", ("GPU-0",))
    recorder = Recorder(facts, one_request, HookSettings(socket=str(rig.socket), frame_s=0.05))
    recorder.start()
    rig.wait_for(lambda: "WATTLEDGER_AGENT_UIDS" in rig.log)
    recorder.stop()
    rig.stop()
    assert rig.iterations() == []
    assert rig.socket.exists() is False


def test_the_socket_is_the_owners_and_the_groups_alone(rig: Rig) -> None:
    rig.start()
    assert rig.socket.stat().st_mode & 0o777 == 0o660
    rig.stop()


def test_a_full_spool_gives_up_rows_in_place_and_keeps_every_energy_frame(rig: Rig) -> None:
    rig.start("--spool-bytes", str(1 << 20))
    recorder = rig.engine("a", "GPU-0")
    noise = random.Random(5)

    def small_ones_are_on_their_way() -> bool:
        # What Kafka may have already is left as it is: were it large, nothing but energy frames would make room.
        record(recorder, noise.randbytes(8).hex())
        return len(rig.energy()) + len(rig.iterations()) > ON_THEIR_WAY

    def gave_up() -> bool:
        for _ in range(400):
            record(recorder, noise.randbytes(60).hex())
        return any(len(f.iteration_kind) and f.iteration_kind[0] == UNRECORDED for f in rig.iterations())

    rig.wait_for(small_ones_are_on_their_way)
    rig.wait_for(gave_up)
    rig.stop()
    assert "spool full" in rig.log
    assert "gave up" in rig.log
    # No hole: what was given up stands there as a sum.
    assert all(before.end_ns == after.start_ns for before, after in pairwise(rig.iterations()))
    mine = [frame.sequence for frame in rig.energy() if frame.group_id == "c/n1/a"]
    assert mine == list(range(len(mine)))


def test_probes_ask_for_frames_on_disk_not_for_kafka(rig: Rig) -> None:
    port = free_ports(1)[0]
    rig.start("--metrics-port", str(port))

    def answers(path: str) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    rig.wait_for(lambda: answers("/ready"))
    assert answers("/live")
    rig.stop()


def test_status_names_the_strangers_on_an_engines_gpu_and_says_so_by_its_exit_status(rig: Rig) -> None:
    rig.stub.write(
        f"uuid=GPU-0 power_w=300 pids={os.getpid()}", f"uuid=GPU-1 power_w=100 pids={os.getpid()},1"
    )
    rig.start()
    rig.engine("good", "GPU-0")
    runner = CliRunner()
    arguments = ["--socket", str(rig.socket), "--json"]
    calm = runner.invoke(status, arguments)
    assert calm.exit_code == 0
    assert json.loads(calm.output)["engines"][0]["gpus"] == [
        {"gpu_uuid": "GPU-0", "state": "confirmed", "strangers": []}
    ]
    rig.engine("disturbed", "GPU-1")
    told = runner.invoke(status, arguments[:2])
    rig.stop()
    assert told.exit_code == 3
    assert "GPU-1  shared, also process 1" in told.output
    assert "c/n1/good (engine 1, process" in told.output


def test_status_without_an_agent_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(AgentUnavailable, match="start `wattledger agent`"):
        status.callback(tmp_path / "nobody.sock", as_json=False)  # type: ignore[misc]
