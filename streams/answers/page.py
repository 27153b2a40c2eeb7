"""One self-contained page about a ledger: no script, nothing loaded, readable on paper, on a phone and aloud."""

import math
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from schemas.errors import DataError
from streams.answers import fleet, quantities
from streams.answers.opened_batch import open_batch, telling_batch
from streams.answers.periods import Period, covered
from streams.answers.plots import plot_efficiency, plot_power
from streams.answers.report_carbon import fleet_carbon
from streams.answers.summary import TenantRow, combined, tenant_rows
from streams.answers.token_price import OUTPUT_WEIGHT
from streams.batch import ACCOUNTS

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = ["MOST_REQUESTS", "environment", "largest_change", "render_page", "short_name", "write_page"]

MOST_TENANTS: Final = 40
MOST_REQUESTS: Final = 24


def write_page(
    client: "Client",
    path: Path,
    *,
    title: str = "Where every joule went",
    start: datetime | None = None,
    end: datetime | None = None,
) -> None:
    """Write the page about [start, end), by default all that is sealed, to `path`.

    Raises DataError if no batch is sealed in the period.
    """
    path.write_text(render_page(client, title=title, start=start, end=end), encoding="utf-8")


def render_page(
    client: "Client", *, title: str, start: datetime | None = None, end: datetime | None = None
) -> str:
    """The page as HTML; the same ledger gives the same bytes."""
    whole = covered(client)
    if whole is None:
        raise DataError(
            f"no batch is sealed in database {client.database!r}: "
            "let a worker run for a window or two, then ask again"
        )
    period = Period(start or whole.start, end or whole.end)
    books = fleet.books(client, period)
    if not books:
        raise DataError(
            f"no batch is sealed from {period.start.isoformat()} to {period.end.isoformat()}: "
            f"the ledger covers {whole.start.isoformat()} to {whole.end.isoformat()}"
        )
    tenants = tenant_rows(client, period.start, period.end)
    efficiency = fleet.efficiency(client, period)
    order = {group.group_id: place for place, group in enumerate(books)}
    power = sorted(fleet.power(client, period), key=lambda group: order[group.group_id])
    chosen = telling_batch(client, period)
    return (
        environment()
        .get_template("page.html.j2")
        .render(
            title=title,
            period=period,
            accounts=ACCOUNTS,
            books=books,
            totals=fleet.totals(books),
            tenants=_shown(tenants),
            all_tenants=combined("All tenants", tenants),
            tenant_count=len(tenants),
            output_weight=OUTPUT_WEIGHT,
            misplaced_uj=sum(abs(row.difference_uj) for row in tenants) / 2,
            power=[plot_power(group, period) for group in power],
            power_steps=_power_table(power),
            step_s=power[0].step_s,
            efficiency=efficiency,
            scatter=plot_efficiency(efficiency),
            loads=fleet.loads(client, period),
            batch=open_batch(client, chosen) if chosen else None,
            most_requests=MOST_REQUESTS,
            carbon=fleet_carbon(client, period.parameters),
        )
    )


@cache
def environment() -> Environment:
    """The templates, with the filters that write figures."""
    found = Environment(
        loader=PackageLoader("streams.answers"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {
        "count": quantities.count,
        "energy": quantities.energy,
        "number": quantities.number,
        "plain": quantities.plain,
        "power": quantities.power,
        "signed": quantities.signed,
        "short": short_name,
        "words": lambda name: name.replace("_", " "),
    }
    found.globals |= {
        "percent": quantities.percent,
        "largest_change": largest_change,
        "energy_unit": lambda values: quantities.fitting(values, quantities.ENERGY_UNITS),
        "css": found.get_template("page.css.j2").render(),
    }
    return found


def short_name(name: str) -> str:
    """The part of a name that tells engines, groups or models apart."""
    return name.rsplit("/", 1)[-1]


def _shown(rows: list[TenantRow]) -> list[TenantRow]:
    others = rows[MOST_TENANTS:]
    return [*rows[:MOST_TENANTS], *([combined(f"{len(others)} others", others)] if others else [])]


def largest_change(rows: list[TenantRow]) -> float:
    """End of the scale of changes in percent: the next ten above the largest, at most 100."""
    changes = [abs(row.difference_uj) / row.energy_uj for row in rows if row.energy_uj]
    return min(100.0, 10.0 * math.ceil(10 * max(changes, default=0.0) or 1))


def _power_table(groups: list[fleet.PowerOverTime]) -> list[tuple[datetime, list[float | None]]]:
    """One line per step: its start, and every group's mean watts (None where it has no batch)."""
    by_group = [dict(zip(group.at_ns.tolist(), group.total_w.tolist(), strict=True)) for group in groups]
    steps = sorted(set().union(*by_group))
    return [
        (datetime.fromtimestamp(at_ns / 1e9, tz=UTC), [known.get(at_ns) for known in by_group])
        for at_ns in steps
    ]
