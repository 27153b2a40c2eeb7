"""Size and speed of the frame codecs beside the obvious alternatives, in one run: `python -m benchmarks.frames`.

The frame: 50 iterations × 64 requests, 79 distinct (tests/samples.py), and the four GPUs of an energy frame.
Alternatives hold the same information: JSON columns with every row written out, and one Protobuf message per row.
Times are per frame, bytes to arrays with every check (decode) and arrays to bytes (encode).
"""

import argparse
import gc
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import zstandard
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from schemas.frames import decode_energy, decode_iterations, encode_energy, encode_iterations
from schemas.iterations import IterationFrame, expand
from tests.samples import energy_frame, iteration_frame

TARGETS: Final = {"raw_bytes": 7000, "wire_bytes": 2600, "decode_us": 100.0, "encode_us": 300.0}
SAMPLES: Final = 9
SEEDS: Final = 20
_NUMBER: Final = descriptor_pb2.FieldDescriptorProto.TYPE_INT64
_STRING: Final = descriptor_pb2.FieldDescriptorProto.TYPE_STRING


@dataclass(frozen=True, slots=True)
class Result:
    """One codec on one frame; times are the median of the samples and the middle half's width."""

    codec: str
    raw_bytes: int
    wire_bytes: int
    encode_us: float
    encode_spread_us: float
    decode_us: float
    decode_spread_us: float


def measure(codec: str, frame: Any, encode: Callable[[Any], bytes], decode: Callable[[bytes], Any]) -> Result:
    """Time both directions of a codec whose messages end in a zstd frame."""
    data = encode(frame)
    raw = zstandard.decompress(data[data.index(zstandard.FRAME_HEADER) :])
    encode_us, encode_spread_us = _timed(lambda: encode(frame))
    decode_us, decode_spread_us = _timed(lambda: decode(data))
    return Result(codec, len(raw), len(data), encode_us, encode_spread_us, decode_us, decode_spread_us)


def _timed(call: Callable[[], object]) -> tuple[float, float]:
    """Median and interquartile range in µs over SAMPLES runs of at least 50 ms each."""
    begun = time.perf_counter()
    call()
    calls = max(3, round(0.05 / max(time.perf_counter() - begun, 1e-6)))
    samples = []
    gc.disable()
    for _ in range(SAMPLES):
        begun = time.perf_counter()
        for _ in range(calls):
            call()
        samples.append((time.perf_counter() - begun) / calls * 1e6)
    gc.enable()
    quarters = statistics.quantiles(samples, n=4)
    return statistics.median(samples), quarters[2] - quarters[0]


def _json_encode(frame: IterationFrame) -> bytes:
    """Columns of all rows, with the requests and iterations they refer to."""
    rows = expand(frame)
    columns = {name: getattr(rows, name).tolist() for name in rows.__slots__}
    rest = {
        name: value.tolist() if isinstance(value := getattr(frame, name), np.ndarray) else value
        for name in frame.__slots__
        if not name.startswith(("span_", "exception_"))
    }
    return zstandard.ZstdCompressor(level=1).compress(json.dumps(rest | columns).encode())


def _json_decode(data: bytes) -> dict[str, Any]:
    found = json.loads(zstandard.decompress(data))
    return {name: np.array(value) if isinstance(value, list) else value for name, value in found.items()}


_ROW_FIELDS: Final = (
    "start_us",
    "duration_us",
    "ordinal",
    "load_ordinal",
    "prompt_tokens",
    "cached_tokens",
    "new_tokens",
    "context_tokens",
    "drafts",
    "emitted",
    "client_id",
    "tenant",
    "engine_id",
)


def _row_messages() -> Any:
    """A frame as `repeated Row`: what one writes first."""
    file = descriptor_pb2.FileDescriptorProto(name="naive.proto", package="naive", syntax="proto3")
    row = file.message_type.add(name="Row")
    for number, name in enumerate(_ROW_FIELDS, 1):
        kind = _STRING if name in ("client_id", "tenant", "engine_id") else _NUMBER
        row.field.add(name=name, number=number, type=kind, label=1)
    rows = file.message_type.add(name="Rows")
    rows.field.add(name="rows", number=1, type=11, type_name=".naive.Row", label=3)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("naive.Rows"))


_Rows: Final = _row_messages()


def _naive_encode(frame: IterationFrame) -> bytes:
    rows = expand(frame)
    starts_us = ((frame.iteration_start_ns - frame.start_ns) // 1000).tolist()
    durations_us = ((frame.iteration_end_ns - frame.iteration_start_ns) // 1000).tolist()
    message = _Rows()
    columns = zip(*(getattr(rows, name).tolist() for name in rows.__slots__), strict=True)
    for iteration, request, new_tokens, context, drafts, emitted in columns:
        message.rows.add(
            start_us=starts_us[iteration],
            duration_us=durations_us[iteration],
            ordinal=int(frame.request_ordinal[request]),
            load_ordinal=int(frame.request_load_ordinal[request]),
            prompt_tokens=int(frame.request_prompt_tokens[request]),
            cached_tokens=int(frame.request_cached_tokens[request]),
            new_tokens=new_tokens,
            context_tokens=context,
            drafts=drafts,
            emitted=emitted,
            client_id=frame.request_client_id[request],
            tenant=frame.tenants[frame.request_tenant[request]],
            engine_id=frame.engine_id,
        )
    data: bytes = message.SerializeToString()
    return zstandard.ZstdCompressor(level=1).compress(data)


def _naive_decode(data: bytes) -> list[Any]:
    message = _Rows.FromString(zstandard.decompress(data))
    return [np.array([getattr(row, name) for row in message.rows]) for name in _ROW_FIELDS]


def main() -> int:
    """Print the table, and the targets beside ours; `--json` for programs. Timings never fail the run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    arguments = parser.parse_args()
    frame = iteration_frame()
    results = [
        measure("iterations", frame, encode_iterations, decode_iterations),
        measure("JSON columns", frame, _json_encode, _json_decode),
        measure("message per row", frame, _naive_encode, _naive_decode),
        measure("energy", energy_frame(), encode_energy, decode_energy),
    ]
    wires = sorted(len(encode_iterations(iteration_frame(seed))) for seed in range(SEEDS))
    if arguments.json:
        print(json.dumps({"results": [asdict(result) for result in results], "wire_bytes_by_seed": wires}))
        return 0
    print(f"{'codec':<16}{'raw bytes':>10}{'wire':>8}{'encode µs':>18}{'decode µs':>18}")
    for result in results:
        encode = f"{result.encode_us:.0f} ± {result.encode_spread_us / 2:.0f}"
        decode = f"{result.decode_us:.0f} ± {result.decode_spread_us / 2:.0f}"
        print(f"{result.codec:<16}{result.raw_bytes:>10}{result.wire_bytes:>8}{encode:>18}{decode:>18}")
    print(f"{'target':<16}{TARGETS['raw_bytes']:>10}{TARGETS['wire_bytes']:>8}", end="")
    print(f"{TARGETS['encode_us']:>18.0f}{TARGETS['decode_us']:>18.0f}")
    print(
        f"wire bytes of {SEEDS} random frames: {wires[0]} to {wires[-1]}, median {statistics.median(wires):.0f}"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
