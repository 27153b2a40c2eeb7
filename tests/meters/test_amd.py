"""AMD meters on amdsmi's documented structures: no AMD hardware has been near this code."""

from types import SimpleNamespace
from typing import Any

import pytest

from producers.meters.amd import AmdMeter
from schemas.errors import MeterError


class SmiError(Exception):
    """What amdsmi raises."""


def meter(counts: list[Any]) -> AmdMeter:
    """A meter whose accumulator reads as listed, once a second."""
    readings, seconds = iter(counts), iter(range(1, 100))

    def energy(_: object) -> dict[str, float]:
        found = next(readings)
        if isinstance(found, Exception):
            raise found
        return {"energy_accumulator": found, "counter_resolution": 15.3}

    smi = SimpleNamespace(AmdSmiException=SmiError, amdsmi_get_energy_count=energy)
    return AmdMeter(smi, None, "amd-0", lambda: next(seconds) * 1_000_000_000, boot="b00t-1234")


def test_energy_is_the_accumulator_times_its_resolution() -> None:
    found = meter([1_000_000]).read()
    assert found.energy_uj == 15_300_000
    assert found.meter.source == "counter"


def test_a_reset_is_a_new_epoch() -> None:
    subject = meter([1_000_000, 10])
    assert [subject.read().meter.epoch for _ in range(2)] == ["b00t-123-0", "b00t-123-1"]


def test_a_jump_beyond_any_accelerator_is_refused_and_the_next_reading_is_taken() -> None:
    subject = meter([1_000_000, 10**15, 10**15 + 20_000_000])
    subject.read()
    with pytest.raises(MeterError, match="known amdsmi fault"):
        subject.read()
    assert subject.read().energy_uj > 0


def test_a_refusal_of_the_library_names_the_gpu() -> None:
    with pytest.raises(MeterError, match=r"amd-0.*not supported"):
        meter([SmiError("not supported")]).read()
