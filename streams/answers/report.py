"""One tenant's report over a period, as figures: what it drew, when, for what, and what else it could have been.

Everything is read as of a cut-off, so that the same report can be made again for ever.
"""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from schemas.errors import DataError
from streams.answers import report_queries as queries
from streams.answers.fleet_totals import fleet_totals
from streams.answers.periods import Period
from streams.answers.registry import Tenant, find_tenant
from streams.answers.report_carbon import Carbon, tenant_carbon
from streams.answers.report_certainty import Certainty, tenant_certainty
from streams.answers.report_lines import HourLine, ModelLine, hour_lines, model_lines, percentiles, read_rows
from streams.answers.report_rollups import rolled_spans
from streams.answers.token_price import OUTPUT_WEIGHT

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["SETTLED_AFTER", "Carbon", "Report", "make_report"]

SETTLED_AFTER: Final = timedelta(minutes=10)
"""A cut-off lies at least so far back: an insert that began before it has ended by then."""
UJ_PER_KWH: Final = 3_600_000_000_000


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that the report's formats say."""

    tenant: str
    start: str
    end: str
    as_of: str
    preliminary: str
    """Why figures may still change; empty where the period is settled."""
    boundary: str
    models: tuple[ModelLine, ...]
    hours: tuple[HourLine, ...]
    percentiles_uj: dict[str, int]
    """Energy of a request: p50, p90, p99, max; {} without requests."""
    cold_start_uj: int
    residency_uj: int
    moved_host_uj: int
    certainty: Certainty | None
    """How sure `energy_uj` is; None without requests."""
    carbon: Carbon | None
    """None where no grid intensity is on record at all."""
    price_per_kwh: str
    """Decimal; empty where no tariff was agreed."""
    currency: str
    output_weight: float

    @property
    def energy_uj(self) -> int:
        """Booked to requests."""
        return sum(line.energy_uj for line in self.models)

    @property
    def total_uj(self) -> int:
        """Booked and moved to the tenant: what a tariff prices."""
        return self.energy_uj + self.cold_start_uj + self.residency_uj

    def cost(self, energy_uj: float) -> Decimal | None:
        """Price of some energy, to a millionth; None without a tariff."""
        if not self.currency:
            return None
        return (Decimal(self.price_per_kwh) * Decimal(energy_uj) / UJ_PER_KWH).quantize(Decimal("0.000001"))

    def data(self) -> dict[str, Any]:
        """Plain types, in a fixed order: the same report gives the same JSON."""
        return asdict(self)


def make_report(
    client: "Client", tenant: str, period: Period, as_of: datetime, *, output_weight: float = OUTPUT_WEIGHT
) -> Report:
    """The report of `tenant` over `period` from rows stored by `as_of`.

    Raises DataError for a tenant that neither the registry nor the ledger knows. A period without requests
    gives a report that says so; one that is not settled is marked.
    """
    moment = _moment(as_of)
    asked = {"tenant": tenant, "as_of": moment}
    known = find_tenant(client, tenant)
    hours = rolled_spans(client, period, moment)
    rolled, left = hours.reports, hours.reports.left_of(period)
    rows = read_rows(client, asked, rolled, left)
    moved = {
        kind: (energy, host)
        for kind, energy, host in client.query(
            queries.MOVED, parameters=asked | period.parameters
        ).result_rows
    }
    if known is None and not len(rows) and not moved:
        _must_be_known(client, tenant)
    totals = fleet_totals(client, period, moment, rolled) if len(rows) else {}
    priced = known if known is not None and known.has_tariff else None
    return Report(
        tenant=tenant,
        start=period.start.astimezone(UTC).isoformat(),
        end=period.end.astimezone(UTC).isoformat(),
        as_of=as_of.astimezone(UTC).isoformat(timespec="milliseconds"),
        preliminary=_why_preliminary(client, period, as_of),
        boundary="energy: accelerators by their meters, hosts apart; carbon: both, times PUE",
        models=model_lines(rows, totals, output_weight),
        hours=hour_lines(rows),
        percentiles_uj=percentiles(rows),
        cold_start_uj=int(moved.get("cold_start", (0, 0))[0]),
        residency_uj=int(moved.get("residency_idle", (0, 0))[0]),
        moved_host_uj=sum(int(host) for _, host in moved.values()),
        certainty=tenant_certainty(client, asked, rolled, left, period.parameters["to_ms"])
        if len(rows)
        else None,
        carbon=tenant_carbon(client, tenant, period, moment, hours.carbon),
        price_per_kwh=_price(priced),
        currency=priced.currency if priced else "",
        output_weight=output_weight,
    )


def _must_be_known(client: "Client", tenant: str) -> None:
    """Raise DataError unless the ledger has a row of `tenant`."""
    found = client.query(
        "SELECT 1 FROM ledger WHERE tenant = {t:String} AND account = 'request' LIMIT 1",
        parameters={"t": tenant},
    ).result_rows
    if not found:
        raise DataError(
            f"no tenant {tenant!r}: nothing was ever booked to it and it is not registered; "
            "upper and lower case differ"
        )


def _why_preliminary(client: "Client", period: Period, as_of: datetime) -> str:
    asked = period.parameters | {"as_of": _moment(as_of)}
    end_ns = period.parameters["to_ms"] * 1_000_000
    if client.query(queries.SEALED_NEAR, parameters=asked).result_rows[0][0] >= end_ns:
        sealed_ns = end_ns
    else:
        sealed_ns = client.query(queries.SEALED, parameters=asked).result_rows[0][0]
    if sealed_ns < end_ns:
        until = datetime.fromtimestamp(sealed_ns / 1e9, UTC).isoformat(timespec="seconds")
        return (
            f"the ledger is sealed until {until} only, before the period's end"
            if sealed_ns
            else "the ledger is empty"
        )
    if as_of < period.end + SETTLED_AFTER:
        return "the cut-off lies less than ten minutes after the period's end"
    return ""


def _price(tenant: Tenant | None) -> str:
    return str(Decimal(repr(tenant.price_per_kwh))) if tenant else ""


def _moment(instant: datetime) -> str:
    return instant.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
