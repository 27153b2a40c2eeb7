"""How long a 30-day report of one tenant takes over a large ledger: `python -m benchmarks.report --rows 100000000`.

The ledger is generated inside the database: four groups, 5 s windows over 30 days, 1,000 tenants, rows as wide as
real ones, one batch in a hundred revised, factors as shipped. Measured are the rollups of all hours (once), then,
in a process of their own, the first report and those of other tenants after it, and the memory of that process.
"""

import argparse
import tempfile
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from streams.answers.periods import Period
from streams.answers.report import make_report
from streams.answers.report_rollups import roll_up_reports
from streams.answers.rollups import roll_up
from streams.carbon.rollups import roll_up_carbon
from streams.ledger.client import connect
from streams.ledger.migrations import up
from wattledger.factors import store_shipped

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

START = datetime(2026, 3, 1, tzinfo=UTC)
DAYS, GROUPS, WINDOW_S = 30, 4, 5
BATCHES = DAYS * 86400 // WINDOW_S * GROUPS
PER_DAY = BATCHES // DAYS

BATCH_ROWS = """
INSERT INTO batches (
    batch_id, revision, group_id, engine_ids, incarnations, engine_class, model, gpu_model, zone, start_ns, end_ns,
    event_time, metered_uj, request_uj, modelled_uj, busy_ns, iterations, batch_size, tenants, method,
    model_version, tier, request_scale, features, stored_at, gpus, held_ns, edge_error
)
WITH
    intDiv(number, {groups:UInt64}) AS window, number % {groups:UInt64} AS grp,
    {start_ns:Int64} + toInt64(window) * 5000000000 AS at
SELECT
    leftPad(hex(number), 32, '0'), {revision:UInt32}, concat('cluster/node/', toString(grp)),
    [concat('cluster/node/', toString(grp))], ['1-a'], concat('class-', toString(grp)),
    concat('model-', toString(grp)), 'H100', 'DE', at, at + 5000000000, fromUnixTimestamp64Nano(at, 'UTC'),
    {rows:UInt64} * 1000000, {rows:UInt64} * 1000000, {rows:UInt64} * 990000, 5000000000, 200, {rows:UInt64},
    least({rows:UInt64}, 100), 'shapley_exact', 'prior-1', 3, 1010000.,
    map('requests', 200. * {rows:UInt64}, 'iterations', 200.), fromUnixTimestamp64Nano(at + 7000000000, 'UTC'),
    1, 5000000000, 0.002
FROM numbers({first:UInt64}, {count:UInt64})
WHERE {revision:UInt32} = 0 OR number % 100 = 0
"""

LEDGER_ROWS = """
INSERT INTO ledger (
    tenant, event_time, batch_id, revision, account, engine_id, incarnation, ordinal, client_request_id, group_id,
    model, load_ordinal, energy_uj, host_uj, half_width_uj, prompt_tokens, cached_tokens, prefill_tokens,
    decode_tokens, emitted_tokens, iterations, context_sum, shared_iterations, term_shares, held_ns,
    first_ns, last_ns, model_loadings, sampling_uj, stored_at
)
WITH
    intDiv(number, {rows:UInt64}) AS batch, intDiv(batch, {groups:UInt64}) AS window,
    batch % {groups:UInt64} AS grp,
    number % {rows:UInt64} AS seat, intDiv(window, 6) * {rows:UInt64} + seat AS request,
    {start_ns:Int64} + toInt64(window) * 5000000000 AS at, cityHash64(request, grp) AS noise,
    window % 6 = 0 AS begins
SELECT
    concat('tenant-', leftPad(toString(noise % {tenants:UInt64}), 4, '0')), fromUnixTimestamp64Nano(at, 'UTC'),
    leftPad(hex(batch), 32, '0'), {revision:UInt32}, 'request', concat('cluster/node/', toString(grp)), '1-a',
    request, concat('req-', toString(request)), concat('cluster/node/', toString(grp)),
    concat('model-', toString(grp)),
    0, 500000 + noise % 1000000, 100000, 50000, 500 + noise % 2000, 0, if(begins, 500 + noise % 2000, 0), 190,
    190 + begins, 200, 200 * 900, 4., [4., 200., 500., 180000., 250000., 0., 0.], 60000000, at, at + 5000000000,
    arrayMap(i -> toFloat32(toInt64(bitShiftRight(noise, i) % 20000) - 10000), range(7)), 0,
    fromUnixTimestamp64Nano(at + 7000000000, 'UTC')
FROM numbers({first:UInt64}, {count:UInt64})
WHERE {revision:UInt32} = 0 OR batch % 100 = 0
"""


def generate(client: "Client", rows: int, tenants: int) -> None:
    """Fill `batches` and `ledger`, a day at a time; the second pass revises one batch in a hundred."""
    per_batch = rows // BATCHES
    common = {
        "groups": GROUPS,
        "tenants": tenants,
        "rows": per_batch,
        "start_ns": round(START.timestamp()) * 10**9,
    }
    for revision in (0, 1):
        for day in range(DAYS):
            first = day * PER_DAY
            client.command(
                BATCH_ROWS, parameters=common | {"revision": revision, "first": first, "count": PER_DAY}
            )
            span = {"first": first * per_batch, "count": PER_DAY * per_batch}
            client.command(LEDGER_ROWS, parameters=common | {"revision": revision} | span)


def peak_mib() -> float:
    """Largest resident memory of this process so far; not ru_maxrss, which begins with what its parent had."""
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line.split()[1] for line in status if line.startswith("VmHWM"))) / 1024


@dataclass(frozen=True, slots=True)
class Clock:
    """Seconds since it was started, by the wall and of this process's CPU time."""

    began_s: float = field(default_factory=time.perf_counter)
    began_cpu_s: float = field(default_factory=time.process_time)

    def spent(self) -> tuple[float, float]:
        """(wall, CPU)."""
        return time.perf_counter() - self.began_s, time.process_time() - self.began_cpu_s


def fill(path: Path, rows: int, tenants: int) -> None:
    """Generate what is not there yet, and roll up what is not rolled up."""
    client = connect(f"chdb://{path}")
    fresh = not client.command("EXISTS TABLE rollup_runs")
    up(client)
    store_shipped(client)
    if fresh:
        clock = Clock()
        generate(client, rows, tenants)
        stored = int(str(client.command("SELECT count() FROM ledger")))
        print(
            "generated   {:>13,} rows in {:.0f} s, {:.0f} s of CPU".format(stored, *clock.spent()), flush=True
        )
    for job in (roll_up, roll_up_reports, roll_up_carbon):
        clock = Clock()
        hours = len(job(client, datetime.now(UTC)))
        took = "{:.0f} s, {:.0f} s of CPU".format(*clock.spent())
        print(f"{job.__name__:<16}{hours:>9,} hours in {took}, peak {peak_mib():,.0f} MiB", flush=True)
    client.close()


def measure(path: Path, runs: int, tenants: int) -> None:
    """Reports of several tenants, each of which is met for the first time; the first in a process is cold."""
    client = connect(f"chdb://{path}")
    opened_mib = peak_mib()
    period = Period(START, START + timedelta(days=DAYS))
    walls, cpus = [], []
    for run in range(runs):
        clock = Clock()
        report = make_report(client, f"tenant-{(17 + run) % tenants:04d}", period, datetime.now(UTC))
        wall_s, cpu_s = clock.spent()
        walls.append(wall_s)
        cpus.append(cpu_s)
    requests = sum(line.requests for line in report.models)
    print(
        f"report      {requests:,} requests, {len(report.hours):,} lines, {report.energy_uj / 3.6e9:,.1f} Wh"
    )
    for name, took in (("wall", walls), ("CPU", cpus)):
        rest = took[1:] or took
        print(f"{name:<12}cold {took[0]:.2f} s; then median {median(rest):.2f} s, worst {max(rest):.2f} s")
    print(f"memory      peak {peak_mib():,.0f} MiB, {opened_mib:,.0f} MiB of it before the first report")
    client.close()


def main() -> None:
    """Generate, roll up, report, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=100_000_000)
    parser.add_argument("--tenants", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--database", type=Path, help="kept; one that is there already is only measured")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="wattledger-bench-") as name:
        path = (arguments.database or Path(name)).resolve()
        # A process each: what one has cached or held is not the other's.
        for step, number in ((fill, arguments.rows), (measure, arguments.runs)):
            process = get_context("spawn").Process(target=step, args=(path, number, arguments.tenants))
            process.start()
            process.join()
            if process.exitcode:
                raise SystemExit(process.exitcode)


if __name__ == "__main__":
    main()
