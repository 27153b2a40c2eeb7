"""NVIDIA meters, through the real binding, on a library below it that does as it is told."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.meters import nvml_stub
from tests.meters.nvml_stub import NvmlStub, monotonic_ms

PREAMBLE = """
import json, os, sys, time
from producers.clock import UnixClock
from producers.meters.epochs import Epoch
from producers.meters.nvml import NvmlMeter, NvmlSession
from schemas.errors import MeterError
session = NvmlSession(reopen_every_s=0)
clock = UnixClock()
def meter(uuid, last=None):
    return NvmlMeter(session, uuid, clock.now, boot="b00t-1234", life="life", last=last)
def show(*values):
    print(json.dumps(values))
def script(*lines):
    path = os.environ["NVML_STUB_SCRIPT"]
    open(path + ".new", "w").write("".join(line + "\\n" for line in lines))
    os.rename(path + ".new", path)
"""


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> NvmlStub:
    return nvml_stub.build(tmp_path_factory.mktemp("nvml"))


def run(stub: NvmlStub, code: str) -> list[Any]:
    """Run code in a child; each line it printed, as JSON."""
    return [json.loads(line) for line in stub.python(PREAMBLE + code).splitlines()]


def test_the_counter_is_cumulative_energy_by_uuid(stub: NvmlStub) -> None:
    stub.write(
        f"uuid=GPU-a power_w=300 step_ms=10 zero_ms={monotonic_ms() - 10_000}", "uuid=GPU-b power_w=100"
    )
    ((uuids, first, second),) = run(
        stub,
        """
m = meter("GPU-a")
first = m.read(); time.sleep(0.5); second = m.read()
show(session.uuids(), [first.time_ns, first.energy_uj], [second.time_ns, second.energy_uj])
""",
    )
    assert uuids == ["GPU-a", "GPU-b"]
    watts = (second[1] - first[1]) * 1000 / (second[0] - first[0])
    # One step of 10 ms is lost or won at either end of half a second.
    assert watts == pytest.approx(300, rel=0.05)
    assert first[1] >= 3_000_000_000


def test_a_reset_is_a_new_epoch_and_never_a_negative_difference(stub: NvmlStub) -> None:
    stub.write("uuid=GPU-a power_w=300")
    before, after = run(
        stub,
        """
m = meter("GPU-a")
r = m.read(); show(r.meter.epoch, r.energy_uj)
script(f"uuid=GPU-a power_w=300 zero_ms={time.monotonic_ns() // 1_000_000}")
time.sleep(0.15)
r = m.read(); show(r.meter.epoch, r.energy_uj)
""",
    )
    assert before[0] == "b00t-123-0"
    assert after[0] == "b00t-123-1"
    assert 0 <= after[1] < before[1]


def test_an_epoch_goes_on_when_the_agent_restarts_and_not_when_the_machine_does(stub: NvmlStub) -> None:
    stub.write("uuid=GPU-a power_w=300")
    ((same, rebooted),) = run(
        stub,
        """
r = meter("GPU-a", Epoch("b00t-1234", 3, 17)).read()
s = meter("GPU-a", Epoch("another", 3, 17)).read()
show(r.meter.epoch, s.meter.epoch)
""",
    )
    assert same == "b00t-123-3"
    assert rebooted == "b00t-123-0"


def test_a_lost_gpu_fails_alone_says_what_to_do_and_is_read_again_when_it_returns(stub: NvmlStub) -> None:
    stub.write("uuid=GPU-a power_w=300", "uuid=GPU-b power_w=100")
    error, other, back = run(
        stub,
        """
a, b = meter("GPU-a"), meter("GPU-b")
before = a.read(); b.read()
script("uuid=GPU-a power_w=300 lost=1", "uuid=GPU-b power_w=100")
try:
    a.read(); show("no error")
except MeterError as error:
    show(str(error))
show(b.read().energy_uj)
script("uuid=GPU-a power_w=300", "uuid=GPU-b power_w=100")
r = a.read()
show(r.energy_uj >= before.energy_uj, r.meter.epoch == before.meter.epoch, b.read().energy_uj >= 0)
""",
    )
    assert "GPU-a" in error[0]
    assert "dmesg" in error[0]
    assert other[0] > 0
    assert back == [True, True, True]


def test_power_is_integrated_and_marked_where_there_is_no_counter(stub: NvmlStub) -> None:
    stub.write("uuid=GPU-a power_w=250 counter=0")
    ((source, scope, watts, epochs),) = run(
        stub,
        """
m = meter("GPU-a")
first = m.read()
for _ in range(10):
    time.sleep(0.02); last = m.read()
watts = (last.energy_uj - first.energy_uj) * 1000 / (last.time_ns - first.time_ns)
time.sleep(1.1)
show(last.meter.source, last.meter.scope, watts, [last.meter.epoch, m.read().meter.epoch])
""",
    )
    assert (source, scope) == ("integrated", "gpu")
    assert watts == pytest.approx(250, rel=1e-6)
    # Over a second without a reading nothing is known: a new epoch, not a guess.
    assert epochs == ["life-0", "life-1"]


def test_mig_slices_are_their_parent_and_the_parent_is_listed_once(stub: NvmlStub) -> None:
    stub.write("uuid=GPU-a power_w=300 mig=MIG-1,MIG-2", "uuid=GPU-b power_w=100")
    ((listed, parents),) = run(
        stub, """show(session.uuids(), [session.parent(u) for u in ("MIG-1", "MIG-2", "GPU-b")])"""
    )
    assert listed == ["GPU-a", "GPU-b"]
    assert parents == ["GPU-a", "GPU-a", "GPU-b"]


def test_a_superchip_is_read_by_module_and_says_so(stub: NvmlStub) -> None:
    stub.write("uuid=GPU-a power_w=600 scope=module", "uuid=GPU-b power_w=600 scope=module counter=0")
    ((counter, integrated),) = run(
        stub,
        """
m = meter("GPU-b"); m.read(); time.sleep(0.05)
show([(r.meter.scope, r.meter.source) for r in [meter("GPU-a").read()]], [m.read().meter.scope])
""",
    )
    assert counter == [["module", "counter"]]
    assert integrated == ["module"]


def test_processes_on_a_gpu(stub: NvmlStub) -> None:
    stub.write("uuid=GPU-a power_w=300 pids=12,34", "uuid=GPU-b power_w=100")
    ((found, none),) = run(
        stub, """show(sorted(session.processes("GPU-a")), sorted(session.processes("GPU-b")))"""
    )
    assert found == [12, 34]
    assert none == []


def test_a_driver_that_is_not_loaded_is_named_with_the_remedy(stub: NvmlStub) -> None:
    stub.write("init_error=9")
    output = stub.python(
        "from producers.meters.nvml import NvmlSession\n"
        "from schemas.errors import MeterError\n"
        "try: NvmlSession()\n"
        "except MeterError as error: print(error)"
    )
    assert "kernel driver is not loaded" in output


def test_a_missing_library_is_named_with_the_remedy(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from producers.meters.nvml import NvmlSession\n"
            "from schemas.errors import MeterError\n"
            "try: NvmlSession()\n"
            "except MeterError as error: print(error)",
        ],
        env={"LD_LIBRARY_PATH": str(tmp_path), "PYTHONPATH": str(nvml_stub.ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "libnvidia-ml.so.1 is not on the library path: install the NVIDIA driver" in done.stdout
