"""One tenant's month of grams over a fleet: how long `tenant_carbon_rolled_between` takes: `make bench-carbon`.

A month of rollups as a fleet of some thousand engines leaves them: tenants, models and zones in every five minutes,
hourly intensities, a load an hour. How many engines stand behind a row does not matter to the query: that is the
point of rolling up.
"""

import argparse
import statistics
import tempfile
import time
from typing import TYPE_CHECKING, Final

from schemas.side_inputs import GridIntensity
from streams.carbon.store import store_factors
from streams.ledger.client import connect
from streams.ledger.migrations import up
from wattledger.factors import store_shipped

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

DAYS: Final = 30
START_S: Final = 1_788_220_800
"""2026-09-01 00:00 UTC."""
ZONES: Final = ("DE", "NO-NO2", "FR")
TENANTS: Final = 20
MODELS: Final = 4
RUNS: Final = 5

SLOTS: Final = """
INSERT INTO carbon_slots (
    hour, run, slot, account, tenant, model, engine_class, zone, site, gpu_model, tier, load_id, energy_uj, host_uj,
    charged_gpu_ns
)
SELECT
    toStartOfHour(at), 1, at, 'request', concat('tenant-', toString(tenant)), concat('model-', toString(model)),
    concat('class-', toString(model)), zone, concat('site-', zone), 'NVIDIA H100 80GB HBM3', 3, '',
    1000000000 + rand(1) % 1000000000, 100000000, 3e11
FROM (SELECT toDateTime64({start:Int64} + 300 * number, 3, 'UTC') AS at FROM numbers({slots:UInt64})) AS time
CROSS JOIN (SELECT number AS tenant FROM numbers({tenants:UInt64})) AS who
CROSS JOIN (SELECT number AS model FROM numbers({models:UInt64})) AS what
ARRAY JOIN {zones:Array(String)} AS zone
"""
RUN: Final = """
INSERT INTO carbon_runs (hour, run, as_of)
SELECT toDateTime64({start:Int64} + 3600 * number, 3, 'UTC'), 1, now64(3) FROM numbers({hours:UInt64})
"""
MONTH: Final = """
SELECT sum(location_g), sum(energy_uj), sum(without_intensity_uj)
FROM tenant_carbon_rolled_between(start = '2026-09-01', end = '2026-10-01', as_of = '2299-12-31 23:59:59.999')
WHERE tenant = 'tenant-7'
"""


def main() -> None:
    """Fill an embedded database and time the query."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tenants", type=int, default=TENANTS)
    tenants = parser.parse_args().tenants
    with tempfile.TemporaryDirectory(prefix="wattledger-bench-") as directory:
        client = connect(f"chdb://{directory}/db")
        up(client)
        _fill(client, tenants)
        rows = client.command("SELECT count() FROM carbon_slots")
        seconds, cpu_seconds = [], []
        for _ in range(RUNS):
            began, cpu = time.perf_counter(), time.process_time()
            ((location_g, energy_uj, missing_uj),) = client.query(MONTH).result_rows
            seconds.append(time.perf_counter() - began)
            cpu_seconds.append(time.process_time() - cpu)
        client.close()
    print(
        f"{rows:,} rollup rows: {DAYS} days, {tenants} tenants, {MODELS} models, {len(ZONES)} zones\n"
        f"one tenant's month: median {statistics.median(seconds):.2f} s of {RUNS} "
        f"({min(seconds):.2f}-{max(seconds):.2f}), CPU {statistics.median(cpu_seconds):.2f} s\n"
        f"{energy_uj / 3.6e12:,.1f} kWh, {location_g / 1000:,.1f} kg, {missing_uj} µJ without an intensity"
    )


def _fill(client: "Client", tenants: int) -> None:
    store_shipped(client)
    hour_ns = 3600 * 10**9
    hourly = [
        GridIntensity(
            zone, START_S * 10**9 + hour * hour_ns, START_S * 10**9 + (hour + 1) * hour_ns,
            100.0 + 7.0 * (hour % 24) + 50.0 * place, "location", "benchmark", False,
        )
        for place, zone in enumerate(ZONES)
        for hour in range(24 * DAYS)
    ]  # fmt: skip
    store_factors(client, hourly)
    asked = {
        "start": START_S,
        "slots": DAYS * 288,
        "tenants": tenants,
        "models": MODELS,
        "zones": list(ZONES),
    }
    client.command(SLOTS, parameters=asked)
    client.command(RUN, parameters={"start": START_S, "hours": DAYS * 24})


if __name__ == "__main__":
    main()
