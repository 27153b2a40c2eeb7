"""Hostile bytes: decoded or refused by name, never another exception, never more memory than the limits allow."""

import struct
import tracemalloc
from collections.abc import Callable

import pytest
import zstandard

from schemas import limits
from schemas.envelope import ENERGY, ITERATIONS, pack
from schemas.errors import MalformedMessage
from schemas.frames import decode_energy, decode_iterations
from schemas.proto import columns_v1_pb2
from tools.fuzz_frames import fuzz

MIB = 1024 * 1024
HEADER = b"WI\x01"


def test_mutated_frames_are_decoded_or_refused():
    """What decodes also encodes again; `make fuzz` does the same a million times."""
    tally = fuzz(seed=20260101, count=24_000)
    assert tally.accepted + sum(tally.refused.values()) == 48_000
    assert tally.accepted > 1000, "the mutations are too coarse to reach the checks"
    assert len(tally.refused) > 40, "the mutations miss most checks"


def peak_of(decode: Callable[[bytes], object], data: bytes, message: str) -> int:
    """Most bytes allocated at a time while `data` is refused with `message`."""
    tracemalloc.start()
    with pytest.raises(MalformedMessage, match=message):
        decode(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def message(**fields: int | str | bytes) -> columns_v1_pb2.IterationFrame:
    """An iteration frame that is complete but for what a test adds."""
    return columns_v1_pb2.IterationFrame(
        schema_version=1, group_id="g", engine_id="e", incarnation="i", start_ns=10**18, **fields
    )


def test_a_compression_bomb_is_refused_before_it_is_unpacked():
    bomb = HEADER + zstandard.ZstdCompressor().compress(bytes(512 * MIB))
    assert len(bomb) < 64 * 1024
    assert peak_of(decode_iterations, bomb, "declares 536870912 bytes") < MIB


def test_a_payload_larger_than_declared_is_refused():
    """The declared size is a lie: 8 kB instead of the bomb's half gigabyte."""
    bomb = bytearray(zstandard.ZstdCompressor().compress(bytes(512 * MIB)))
    assert bomb[4] >> 6 == 2, "content size in four bytes"
    place = bytes(bomb).index(struct.pack("<I", 512 * MIB))
    bomb[place : place + 4] = struct.pack("<I", 8192)
    assert peak_of(decode_iterations, HEADER + bytes(bomb), "zstd") < 8 * MIB


def test_a_payload_of_unknown_size_is_refused():
    data = HEADER + zstandard.ZstdCompressor(write_content_size=False).compress(b"x" * 100)
    assert peak_of(decode_iterations, data, "unknown size") < MIB


@pytest.mark.parametrize(
    ("fields", "refusal"),
    [
        ({"rows": 2**31}, "rows: 2147483648 entries"),
        ({"iterations": 2**32 - 1}, "iterations: 4294967295 entries"),
        ({"requests": 2**31}, "requests: 2147483648 entries"),
        ({"spans": 2**31}, "spans: 2147483648"),
        ({"exceptions": 1}, "exceptions: 1"),
        ({"iterations": limits.MAX_ITERATIONS}, "columns: 0 bytes"),
        ({"end_us": 2**63}, "end_ns"),
        ({"watermark_us": 2**62}, "watermark_ns"),
        ({"prefix_groups": b"1234567"}, "prefix_groups: 7 bytes"),
        ({"request_client_ids": "abc"}, "request_client_ids: the frame states 3"),
        ({"span_length": b"\x01"}, "columns: 1 bytes"),
    ],
)
def test_a_claim_allocates_nothing(fields: dict[str, int], refusal: str):
    data = pack(ITERATIONS, message(**fields).SerializeToString())
    assert peak_of(decode_iterations, data, refusal) < MIB


def test_a_span_of_billions_of_rows_allocates_nothing():
    """One request, one iteration, and a span that says it lasts for 2^31 of them."""
    one = {"iteration_kind": b"\0", "iteration_padded_tokens": b"\0", "iteration_gap_us": b"\0"}
    request = {f"request_{name}": b"\0" for name in ("tenant", "load_or_none", "adapter_or_none")}
    request |= {
        f"request_{name}": b"\0" for name in ("prefix_group_or_none", "prompt_tokens", "cached_tokens")
    }
    request |= {
        f"request_{name}": b"\0" for name in ("ordinal_delta", "load_ordinal_delta", "client_id_length")
    }
    span = {"span_request_delta": b"\0", "span_entry_beyond_prompt": b"\0", "span_first_iteration": b"\0"}
    frame = message(
        **one, **request, **span, iteration_duration_us=b"\1", span_length=b"\xff\xff\xff\xff\x07", end_us=9
    )
    frame.tenants.append("t")
    frame.iterations = frame.requests = frame.spans = frame.rows = 1
    assert peak_of(decode_iterations, pack(ITERATIONS, frame.SerializeToString()), "span_length") < MIB


@pytest.mark.parametrize(
    ("column", "refusal"),
    [
        (b"\0" * (limits.MAX_PAYLOAD_BYTES - 100), "columns: "),
        (b"\x80" * 4096, "iteration_gap_us: ends inside a varint"),
        (b"\x80" * 11 + b"\x01" + b"\x01" * 5000, "iteration_gap_us: a varint of 12 bytes"),
        (b"\x01\x01", "does not hold the 1024 values|columns: 2 bytes"),
    ],
)
def test_columns_that_do_not_match_the_counts_are_refused(column: bytes, refusal: str):
    frame = message(iterations=1024, iteration_gap_us=column)
    assert peak_of(decode_iterations, pack(ITERATIONS, frame.SerializeToString()), refusal) < 8 * MIB


def test_the_largest_payload_stays_within_forty_times_its_size():
    values = limits.MAX_PAYLOAD_BYTES - 200
    frame = message(iterations=limits.MAX_ITERATIONS, requests=limits.MAX_REQUESTS, rows=limits.MAX_ROWS)
    frame.spans = frame.exceptions = limits.MAX_ROWS - 1
    frame.exception_emitted = b"\x01" * values
    data = pack(ITERATIONS, frame.SerializeToString())
    assert peak_of(decode_iterations, data, "columns: |iteration_gap_us") < 48 * limits.MAX_PAYLOAD_BYTES


def test_an_energy_frame_of_too_many_meters_is_refused():
    frame = columns_v1_pb2.EnergyFrame(
        schema_version=1, group_id="g", node_id="n", incarnation="i", start_ns=1
    )
    for _ in range(limits.MAX_METERS + 1):
        frame.meters.add(meter_id="m")
    assert peak_of(decode_energy, pack(ENERGY, frame.SerializeToString()), "meters: 1025 entries") < 4 * MIB
