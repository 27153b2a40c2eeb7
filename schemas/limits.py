"""How large a frame may be: what one message can cost a reader, known before anything is allocated.

The heaviest engine measured (DeepSeek-V3.1 on 8×B200, batch 3008, 11 iterations/s) writes 16,500 rows per
half-second frame. A producer that has more than a limit allows publishes two frames.
"""

from typing import Final

__all__ = [
    "MAX_ENERGY_UJ",
    "MAX_ENGINES",
    "MAX_ITERATIONS",
    "MAX_METERS",
    "MAX_OFFSET_NS",
    "MAX_ORDINAL",
    "MAX_PAYLOAD_BYTES",
    "MAX_READINGS",
    "MAX_REQUESTS",
    "MAX_ROWS",
    "MAX_SEQUENCE",
    "MAX_TEXT",
    "MAX_TIME_NS",
    "MAX_TOKENS",
]

MAX_PAYLOAD_BYTES: Final = 2 * 1024 * 1024
"""Of one decompressed frame: 6 times the heaviest with every row an exception. Decoding takes 40 times."""

MAX_ITERATIONS: Final = 1 << 15
"""500 times the fastest engine measured (134 iterations/s)."""

MAX_REQUESTS: Final = 1 << 16
"""20 times the largest batch measured, all replaced within one frame."""

MAX_ROWS: Final = 1 << 18
"""16 times the heaviest frame measured; written out as rows, such a frame takes 9 MiB."""

MAX_METERS: Final = 1 << 10
"""A rack-scale group of 72 GPUs, with an epoch change of each, many times over."""

MAX_READINGS: Final = 1 << 16
"""MAX_METERS meters that step every 10 ms: ten times as often as NVML's."""

MAX_ENGINES: Final = 1 << 10
"""Engines, or loads, of one metering group."""

MAX_TOKENS: Final = (1 << 31) - 1
"""Of one request or one iteration; a context or a prompt is an int32."""

MAX_ORDINAL: Final = 1 << 44
"""Requests of one engine process: a million a second for half a year. Sums of 2^16 deltas fit 63 bits."""

MAX_SEQUENCE: Final = 1 << 62
"""Fits every signed 64-bit column; two frames a second never reach it."""

MAX_TIME_NS: Final = 1 << 62
"""Year 2116: leaves room for offsets in 63 bits."""

MAX_OFFSET_NS: Final = (1 << 32) * 1000
"""71 minutes from a frame's start to any instant in it: more is a broken clock. Sums of 2^16 fit 63 bits."""

MAX_ENERGY_UJ: Final = 1 << 62
"""146 years of a megawatt."""

MAX_TEXT: Final = 512
"""Characters of an id or name; a hook shortens longer client ids before it publishes them."""
