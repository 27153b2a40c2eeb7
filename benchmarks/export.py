"""Memory of an export of 100,000 and of a million requests: `make bench-export`.

A ledger of a million requests, two windows each, is generated in an embedded database; every export is a process of
its own that streams to a file, and its peak resident memory holds the database as well.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from streams.ledger.client import connect
from streams.ledger.migrations import up

ROWS, PER_BATCH = 2_000_000, 100
START_NS = 1_772_323_200_000_000_000
"""2026-03-01; windows of 5 s, each request in two."""

BATCHES = """
INSERT INTO batches (
    batch_id, revision, group_id, engine_ids, model, start_ns, end_ns, event_time, batch_size, tier
)
WITH {start_ns:Int64} + toInt64(number) * 5000000000 AS at
SELECT leftPad(hex(number), 32, '0'), 0, 'cluster/node/0', ['cluster/node/0'], 'model-0', at, at + 5000000000,
    fromUnixTimestamp64Nano(at, 'UTC'), {per_batch:UInt64}, 3
FROM numbers({batches:UInt64})
"""
LINES = """
INSERT INTO ledger (
    tenant, event_time, batch_id, revision, account, engine_id, incarnation, ordinal, client_request_id, group_id,
    model, energy_uj, host_uj, half_width_uj, prompt_tokens, prefill_tokens, decode_tokens, emitted_tokens, held_ns
)
WITH intDiv(number, {per_batch:UInt64}) AS batch,
    intDiv(batch, 2) * {per_batch:UInt64} + number % {per_batch:UInt64} AS request
SELECT concat('tenant-', toString(request % 100)),
    fromUnixTimestamp64Nano({start_ns:Int64} + toInt64(batch) * 5000000000, 'UTC'), leftPad(hex(batch), 32, '0'), 0,
    'request', 'cluster/node/0', '1-a', request, hex(cityHash64(request)), 'cluster/node/0', 'model-0',
    500000 + cityHash64(number) % 1000000, 100000, 50000, 700, 700, 190, 191, 60000000
FROM numbers({rows:UInt64})
"""
EXPORT = """
import resource, sys
from wattledger.__main__ import main
try:
    main()
finally:
    used = resource.getrusage(resource.RUSAGE_SELF)
    # Not ru_maxrss, which begins with what the starting process had.
    peak_kib = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
    print(f"{int(peak_kib) / 1024:.0f} {used.ru_utime + used.ru_stime:.1f}")
"""


def generate(path: Path) -> None:
    """Fill a new embedded database."""
    client = connect(f"chdb://{path}")
    up(client)
    bound = {"start_ns": START_NS, "per_batch": PER_BATCH, "batches": ROWS // PER_BATCH, "rows": ROWS}
    client.command(BATCHES, parameters=bound)
    client.command(LINES, parameters=bound)
    client.close()


def export(path: Path, requests: int, output_format: str) -> str:
    """What an export of the first `requests` took, as a line."""
    end = datetime.fromtimestamp(START_NS // 10**9 + requests * 2 // PER_BATCH * 5, UTC)
    out = path.parent / f"{requests}.{output_format}"
    arguments = [
        "export",
        "requests",
        "--from",
        "2026-03-01",
        "--to",
        end.isoformat(),
        "--format",
        output_format,
    ]
    done = subprocess.run(
        [sys.executable, "-c", EXPORT, *arguments, "--out", str(out)],
        env=os.environ | {"WATTLEDGER_CLICKHOUSE": f"chdb://{path}"},
        check=True,
        capture_output=True,
        text=True,
    )
    peak_mib, cpu_s = done.stdout.split()
    written, _, _ = done.stderr.rpartition(" requests")
    size_mib = out.stat().st_size / 2**20
    out.unlink()
    said = f"{output_format:<8}{written.rpartition(' ')[2]:>10} requests, {size_mib:>6.1f} MiB"
    return f"{said}: peak {peak_mib} MiB, {cpu_s} s of CPU"


def main() -> None:
    """Generate, export, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--below", type=Path, help="Directory for the database, which is removed at the end.")
    below = parser.parse_args().below
    with tempfile.TemporaryDirectory(prefix="wattledger-bench-", dir=below) as name:
        path = Path(name).resolve() / "db"
        generate(path)
        for output_format in ("csv", "json", "parquet"):
            for requests in (100_000, 1_000_000):
                print(export(path, requests, output_format), flush=True)


if __name__ == "__main__":
    main()
