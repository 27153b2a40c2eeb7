"""What each column of `ledger` takes under which codec: `python -m benchmarks.codecs`.

A mixed fleet's rows in embedded ClickHouse, merged; every codec that a column's type allows, beside what the
migrations declare. Engines of one kind run the same schedule here, so that columns of tokens compress better than a
real fleet's; ids and energies differ.
"""

import argparse
import tempfile
from typing import TYPE_CHECKING, Final

from benchmarks.fleet_load import Load, frames, side_inputs
from schemas.side_input_codec import decode_engine, decode_model
from schemas.topics import MODELS
from streams.batch import Batch
from streams.booking import book
from streams.ledger.client import connect
from streams.ledger.migrations import up
from streams.ledger.rows import batch_table, ledger_table
from streams.ledger.sink import ClickHouseSink
from streams.pipeline import Frontier, Message, Pipeline
from streams.side_inputs import SideInputs
from streams.split import SplitRules
from streams.windows import WindowRules

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

ORIGIN_NS: Final = 1_760_000_000_000_000_000
ANY: Final = ("LZ4", "ZSTD(1)", "ZSTD(3)")
WHOLE: Final = (*ANY, "T64, ZSTD(1)", "Delta, ZSTD(1)", "DoubleDelta, ZSTD(1)")
FLOAT: Final = (*ANY, "Gorilla, ZSTD(1)", "FPC, ZSTD(1)")


def main() -> None:
    """Fill, try, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engines", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=60.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        client = connect(f"chdb://{directory}/ledger")
        up(client)
        # Small parts keep all columns in one file, and no column's size is known.
        client.command(
            "ALTER TABLE ledger MODIFY SETTING min_bytes_for_wide_part = 0, min_rows_for_wide_part = 0"
        )
        batches = _booked(Load(arguments.engines, arguments.seconds, "codecs"))
        ClickHouseSink(client).write({"ledger": ledger_table(batches)}, batch_table(batches))
        columns = client.query(
            "SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = 'ledger'"
        ).result_rows
        rows = int(str(client.command("SELECT count() FROM ledger")))
        declared = _sizes(client, "ledger")
        found: dict[str, dict[str, int]] = {name: {} for name, _ in columns}
        for codec in dict.fromkeys((*WHOLE, *FLOAT)):
            chosen = [name for name, kind in columns if codec in _allowed(kind)]
            for name, size in _under(client, codec, chosen).items():
                found[name][codec] = size
        client.close()
    print(f"{rows:,} rows, {sum(declared.values()) / rows:.1f} bytes each as declared\n")
    print(f"{'column':<20}{'declared':>10}   bytes a row by codec")
    for name in sorted(declared, key=lambda one: -declared[one]):
        others = "  ".join(f"{codec} {size / rows:.3f}" for codec, size in sorted(found[name].items()))
        print(f"{name:<20}{declared[name] / rows:>10.3f}   {others}")


def _allowed(kind: str) -> tuple[str, ...]:
    if kind.startswith("Float"):
        return FLOAT
    return WHOLE if kind.startswith(("Int", "UInt", "DateTime")) else ANY


def _under(client: "Client", codec: str, columns: list[str]) -> dict[str, int]:
    """Bytes of these columns with one codec for all of them."""
    client.command("DROP TABLE IF EXISTS trial")
    client.command("CREATE TABLE trial AS ledger")
    changes = ", ".join(f"MODIFY COLUMN {name} CODEC({codec})" for name in columns)
    client.command(f"ALTER TABLE trial {changes}")
    client.command("INSERT INTO trial SELECT * FROM ledger")
    sizes = _sizes(client, "trial")
    return {name: sizes[name] for name in columns}


def _sizes(client: "Client", table: str) -> dict[str, int]:
    client.command(f"OPTIMIZE TABLE {table} FINAL")
    found = client.query(
        "SELECT column, sum(column_data_compressed_bytes) FROM system.parts_columns "
        "WHERE database = currentDatabase() AND table = {table:String} AND active GROUP BY column",
        parameters={"table": table},
    ).result_rows
    return {name: int(size) for name, size in found}


def _booked(load: Load) -> list[Batch]:
    side = SideInputs()
    for topic, _, value in side_inputs(load, ORIGIN_NS):
        if topic == MODELS:
            side.add_model(decode_model(value))
        else:
            side.add_engine(decode_engine(value))
    pipeline = Pipeline(WindowRules(), side, Frontier())
    batches: list[Batch] = []
    for slot, (end_ns, messages) in enumerate(frames(load, ORIGIN_NS)):
        for place, (topic, key, value) in enumerate(messages):
            pipeline.receive(Message(topic, 0, slot * load.engines + place // 2, end_ns, key, value))
        work = pipeline.take(10**6)
        batches += [book(closed, side, SplitRules()) for closed in work.windows]
        pipeline.settle(work)
    return batches


if __name__ == "__main__":
    main()
