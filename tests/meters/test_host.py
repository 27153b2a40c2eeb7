"""Host energy: RAPL sums its domains across wraps; the parametric host follows utilisation."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.meters.host import HostPower, ParametricHost
from producers.meters.rapl import RaplMeter, find_domains
from schemas.errors import MeterError


def powercap(root: Path, domains: dict[str, tuple[str, int]]) -> None:
    """A powercap tree: directory → (name, range)."""
    for directory, (name, range_uj) in domains.items():
        folder = root / directory
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "name").write_text(name + "\n")
        (folder / "max_energy_range_uj").write_text(f"{range_uj}\n")
        (folder / "energy_uj").write_text("0\n")


def test_packages_and_their_memory_count_and_cores_do_not(tmp_path: Path) -> None:
    powercap(
        tmp_path,
        {
            "intel-rapl:0": ("package-0", 1000),
            "intel-rapl:0:0": ("core", 1000),
            "intel-rapl:0:1": ("dram", 1000),
            "intel-rapl:1": ("package-1", 1000),
            "intel-rapl-mmio:0": ("package-0", 1000),
        },
    )
    assert [domain.name for domain in find_domains(tmp_path)] == [
        "intel-rapl:0 package-0",
        "intel-rapl:0:1 dram",
        "intel-rapl:1 package-1",
    ]


def test_no_powercap_is_no_domain(tmp_path: Path) -> None:
    assert find_domains(tmp_path / "absent") == []


@given(steps=st.lists(st.integers(0, 999), max_size=20))
def test_the_sum_survives_every_wrap(tmp_path_factory: pytest.TempPathFactory, steps: list[int]) -> None:
    root = tmp_path_factory.mktemp("powercap")
    powercap(root, {"intel-rapl:0": ("package-0", 1000)})
    meter = RaplMeter(find_domains(root), lambda: 5, meter_id="host:n", life="life")
    true_uj = 0
    assert meter.read().energy_uj == 0
    for step in steps:
        true_uj += step
        (root / "intel-rapl:0" / "energy_uj").write_text(f"{true_uj % 1000}\n")
        assert meter.read().energy_uj == true_uj


def test_a_domain_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    powercap(tmp_path, {"intel-rapl:0": ("package-0", 1000)})
    meter = RaplMeter(find_domains(tmp_path), lambda: 5, meter_id="host:n", life="life")
    (tmp_path / "intel-rapl:0" / "energy_uj").unlink()
    with pytest.raises(MeterError, match="package-0"):
        meter.read()


def proc_stat(path: Path, busy: int, idle: int) -> None:
    path.write_text(f"cpu  {busy} 0 0 {idle} 0 0 0 0 0 0\ncpu0 1 0\ncpu1 1 0\nintr 5\n")


def test_parametric_power_follows_utilisation_and_is_marked(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    times = iter([0, 1_000_000_000, 2_000_000_000])
    power = HostPower(idle_w_per_thread=10, busy_w_per_thread=30, memory_w_per_gb=0)
    host = ParametricHost(power, lambda: next(times), meter_id="host:n", life="life", proc_stat=stat)
    proc_stat(stat, busy=0, idle=100)
    first = host.read()
    proc_stat(stat, busy=0, idle=200)
    idle = host.read()
    proc_stat(stat, busy=100, idle=200)
    busy = host.read()
    assert first.meter.source == "parametric"
    assert idle.energy_uj - first.energy_uj == 20_000_000
    assert busy.energy_uj - idle.energy_uj == 60_000_000


def test_a_host_without_proc_says_so(tmp_path: Path) -> None:
    host = ParametricHost(
        HostPower(), lambda: 0, meter_id="host:n", life="life", proc_stat=tmp_path / "absent"
    )
    with pytest.raises(MeterError, match="is /proc mounted"):
        host.read()
