"""A simulated fleet's microjoules, tokens and meters are what they were: a faster path that differs ends here.

The digests were taken from the plain way (whole-array operations, one engine at a time, rows made batch by batch).
They cover numbers that follow from the events alone; a new rule of accounting may change them, mere speed may not.
"""

import hashlib
from collections.abc import Sequence

import pyarrow as pa

from schemas.side_input_codec import decode_engine
from schemas.topics import ENGINES, LOADS
from streams.batch import Batch
from streams.booking import book
from streams.ledger.rows import batch_table, ledger_table, meter_table
from streams.pipeline import Frontier, Message, Pipeline
from streams.side_inputs import SideInputs
from streams.split import SplitRules
from streams.windows import WindowRules
from tests.rig.streams import demo_fleet, records

ORIGIN_NS = 1_760_000_000_000_000_000
LEDGER = (
    "batch_id", "account", "engine_id", "ordinal", "load_id", "tenant", "client_request_id", "adapter",
    "energy_uj", "host_uj", "prompt_tokens", "cached_tokens", "prefill_tokens", "decode_tokens", "draft_tokens",
    "emitted_tokens", "iterations", "context_sum", "held_ns", "first_ns", "last_ns",
)  # fmt: skip
BATCHES = (
    "batch_id", "start_ns", "end_ns", "metered_uj", "request_uj", "idle_uj", "cold_start_uj", "overhead_uj",
    "unobserved_uj", "host_uj", "gap_ns", "busy_ns",
)  # fmt: skip
METER = ("batch_id", "meter_id", "epoch", "from_ns", "from_before_uj", "from_after_uj", "to_ns", "to_before_uj",
         "to_after_uj")  # fmt: skip


def booked() -> list[Batch]:
    """The demo's fleet, a minute of it."""
    side = SideInputs()
    pipeline = Pipeline(WindowRules(), side, Frontier())
    batches: list[Batch] = []
    offsets: dict[str, int] = {}
    for record in records(demo_fleet("golden", duration_s=60.0), ORIGIN_NS):
        if record.topic == ENGINES:
            side.add_engine(decode_engine(record.value))
        elif record.topic != LOADS:
            offset = offsets[record.topic] = offsets.get(record.topic, -1) + 1
            pipeline.receive(Message(record.topic, 0, offset, record.at_ns, record.key, record.value))
            while work := pipeline.take():
                batches += [book(closed, side, SplitRules()) for closed in work.windows]
                pipeline.settle(work)
    return batches


def digest(table: pa.Table, columns: Sequence[str]) -> str:
    """Of the rows in an order of their own."""
    rows = sorted(zip(*(table[name].to_pylist() for name in columns), strict=True))
    return hashlib.blake2b(repr(rows).encode(), digest_size=12).hexdigest()


def test_the_demo_s_rows_are_what_the_plain_way_made_of_them() -> None:
    batches = booked()
    found = {
        "ledger": digest(ledger_table(batches), LEDGER),
        "batches": digest(batch_table(batches), BATCHES),
        "raw_meter": digest(meter_table(batches), METER),
    }
    assert found == {
        "ledger": "f9706c13bf2bc1faec0484f5",
        "batches": "1b23976815111a210669d54c",
        "raw_meter": "5f18339a0f445774555db1c8",
    }
