"""Write the examples of the current frame version: `python -m tools.frame_examples`.

Each example is a message (`.bin`) and its recorded meaning (`.json`) under schemas/examples/v<version>/. They are
written once: a later program must read them as recorded, so this tool refuses to change one that exists.
"""

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from schemas.energy import ActiveLoad, EnergyFrame, Meter
from schemas.envelope import VERSION
from schemas.frames import encode_energy, encode_iterations
from schemas.iterations import DUMMY, NORMAL, WARM_UP, IterationFrame

EXAMPLES = Path(__file__).resolve().parent.parent / "schemas" / "examples"
START_NS = 1_760_000_000_000_000_000
ENGINE = "eu-1/node-07/llama-8b-0"
MS = 1_000_000


def meaning(frame: IterationFrame | EnergyFrame) -> dict[str, Any]:
    """A frame's fields as plain JSON values."""
    return {field.name: _plain(getattr(frame, field.name)) for field in dataclasses.fields(frame)}


def examples() -> dict[str, IterationFrame | EnergyFrame]:
    """The frames, by file name."""
    return {
        "iterations_decode": _decode(),
        "iterations_idle": _idle(),
        "iterations_everything": _everything(),
        "energy_four_gpus": _four_gpus(),
        "energy_every_kind": _every_kind(),
    }


def _decode() -> IterationFrame:
    """Four iterations: two requests decode, one leaves, one arrives with its prompt in one chunk."""
    return _frame(
        tenants=("acme", "globex"),
        loads=("load-1",),
        iterations=[(1, 10), (11, 20), (21, 32), (32, 41)],
        requests=[
            (100, "cmpl-0b6f7d6f9c2b4f6c8f0e3a1d2c3b4a59", 0, 0, 41, -1, 0, 700, 0),
            (101, "cmpl-5d2c1b0a99884f7e8d6c5b4a39281706", 1, 0, 42, -1, 0, 512, 0),
            (102, "cmpl-77e6d5c4b3a2491081726354a5b6c7d8", 0, 0, 43, -1, 0, 300, 256),
        ],
        spans=[(0, 0, 4, 731), (1, 0, 2, 640), (2, 2, 2, 256)],
        exceptions=[(6, 44, 0, 0, 1)],
    )


def _idle() -> IterationFrame:
    """The heartbeat of an engine without work."""
    return _frame(sequence=18)


def _everything() -> IterationFrame:
    """Overlapping, dummy and warm-up iterations; adapters, drafts, a preempted request, ids of any script."""
    return _frame(
        sequence=2**40,
        tenants=("", "株式会社", "acme"),
        loads=("load-1", "load-2"),
        adapters=("lora-legal", "lora-sql"),
        iterations=[(-700, 40, WARM_UP, 0), (45, 95, NORMAL, 16), (60, 120, NORMAL, 8), (130, 131, DUMMY, 1)]
        + [(150 + 20 * k, 165 + 20 * k, NORMAL, 8) for k in range(4)],
        requests=[
            (7, "", 0, -1, 0, 1, 2**64 - 1, 40_000, 39_984),
            (5, "même-id", 2, 1, 1, -1, 9, 17, 0),
            (6, "même-id", 1, 0, 2**40, 0, 9, 2_000_000, 0),
        ],
        spans=[(2, 4, 4, 1_999_000), (1, 1, 2, 0), (0, 2, 1, 39_984), (1, 6, 2, 23)],
        exceptions=[
            (0, 500, 0, 0, 0),
            (1, 500, 0, 0, 1),
            (3, 6, 5, 4, 2),
            (4, 17, 0, 0, 1),
            (6, 16, 0, 0, 1),
        ],
    )


def _four_gpus() -> EnergyFrame:
    """Four counters that each changed twice, while a load still runs."""
    times = [(gpu, 100 * step + 7 * gpu) for step in (1, 2) for gpu in range(4)]
    return _energy(
        engines=(ENGINE,),
        loads=(ActiveLoad("load-1", ENGINE, START_NS - 5_000 * MS, 0),),
        meters=tuple(Meter(f"GPU-{gpu}a6e7f0c", "gpu", "boot-1f6b", "gpu", "counter") for gpu in range(4)),
        readings=[(gpu, at, 10**13 + gpu * 10**12 + at * 350_000) for gpu, at in times],
    )


def _every_kind() -> EnergyFrame:
    """A host's part, a Grace-Hopper module whose counter began anew in the frame, a meter that says nothing."""
    return _energy(
        meters=(
            Meter("host:node-07:spare", "host", "boot-1f6b", "host", "integrated"),
            Meter("GPU-77", "gpu", "boot-1f6b", "module", "counter"),
            Meter("GPU-77", "gpu", "boot-2a00", "module", "counter"),
            Meter("GPU-78", "gpu", "", "gpu", "parametric"),
        ),
        readings=[(1, -60, 2**61), (0, 100, 5), (2, 350, 0), (0, 200, 5), (2, 450, 35_000_000)],
    )


def _frame(
    *,
    sequence: int = 17,
    tenants: tuple[str, ...] = (),
    loads: tuple[str, ...] = (),
    adapters: tuple[str, ...] = (),
    iterations: Sequence[tuple[int, ...]] = (),
    requests: Sequence[tuple[Any, ...]] = (),
    spans: Sequence[tuple[int, ...]] = (),
    exceptions: Sequence[tuple[int, ...]] = (),
) -> IterationFrame:
    rows = [(start, end, *(rest or (NORMAL, 0))) for start, end, *rest in iterations]
    starts, ends, kinds, padded = _columns(rows, 4)
    ordinals, client_ids, tenant, load, load_ordinals, adapter, prefix, prompt, cached = (
        [request[place] for request in requests] for place in range(9)
    )
    span = _columns(spans, 4).astype(np.int32)
    exception = _columns(exceptions, 5).astype(np.int32)
    return IterationFrame(
        group_id=ENGINE,
        engine_id=ENGINE,
        incarnation="1759913600000000000-9f3a61c2",
        incarnation_start_ns=1_759_913_600_000_000_000,
        sequence=sequence,
        start_ns=START_NS,
        end_ns=START_NS + 500 * MS,
        watermark_ns=START_NS + 480 * MS,
        tenants=tenants,
        loads=loads,
        adapters=adapters,
        iteration_start_ns=START_NS + starts * MS,
        iteration_end_ns=START_NS + ends * MS,
        iteration_kind=kinds.astype(np.uint8),
        iteration_padded_tokens=padded.astype(np.int32),
        request_ordinal=np.array(ordinals, np.int64),
        request_client_id=tuple(client_ids),
        request_tenant=np.array(tenant, np.int32),
        request_load=np.array(load, np.int32),
        request_load_ordinal=np.array(load_ordinals, np.int64),
        request_adapter=np.array(adapter, np.int32),
        request_prefix_group=np.array(prefix, np.uint64),
        request_prompt_tokens=np.array(prompt, np.int32),
        request_cached_tokens=np.array(cached, np.int32),
        span_request=span[0],
        span_first_iteration=span[1],
        span_length=span[2],
        span_entry_context=span[3],
        exception_row=exception[0],
        exception_new_tokens=exception[1],
        exception_drafts=exception[2],
        exception_rejected=exception[3],
        exception_emitted=exception[4],
    )


def _energy(
    *,
    meters: tuple[Meter, ...],
    readings: list[tuple[int, int, int]],
    engines: tuple[str, ...] = (),
    loads: tuple[ActiveLoad, ...] = (),
) -> EnergyFrame:
    meter, at_ms, energy_uj = _columns(readings, 3)
    return EnergyFrame(
        group_id=ENGINE,
        node_id="eu-1/node-07",
        incarnation="1759913500000000000-1c8e",
        sequence=17,
        start_ns=START_NS,
        end_ns=START_NS + 500 * MS,
        watermark_ns=START_NS + 400 * MS,
        engines=engines,
        loads=loads,
        meters=meters,
        reading_meter=meter.astype(np.int32),
        reading_time_ns=START_NS + at_ms * MS,
        reading_uj=energy_uj,
    )


def _columns(rows: Sequence[Any], width: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.array(rows, np.int64).reshape(-1, width).T


def _plain(value: object) -> object:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, tuple):
        return [dataclasses.asdict(item) if dataclasses.is_dataclass(item) else item for item in value]  # type: ignore[arg-type]
    return value


def main() -> int:
    """Write what is missing, and fail if an example that exists would come out with another meaning."""
    folder = EXAMPLES / f"v{VERSION}"
    folder.mkdir(parents=True, exist_ok=True)
    changed = []
    for name, frame in examples().items():
        message, recorded = folder / f"{name}.bin", folder / f"{name}.json"
        text = json.dumps(meaning(frame), indent=1, ensure_ascii=False) + "\n"
        if not recorded.exists():
            message.write_bytes(
                encode_iterations(frame) if isinstance(frame, IterationFrame) else encode_energy(frame)
            )
            recorded.write_text(text, encoding="utf-8")
            print(f"wrote {message.relative_to(EXAMPLES.parent)}")
        elif recorded.read_text(encoding="utf-8") != text:
            changed.append(name)
    if changed:
        print(f"{', '.join(changed)}: recorded with another meaning; give the new example a new name")
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main())
