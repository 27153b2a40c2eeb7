"""The page's views, each a whole HTML document made from the ledger: fleet, tenants, one tenant, batch, receipt."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from schemas.errors import DataError
from streams.answers import fleet
from streams.answers.fleet_now import NOW_S, groups_now, latest_batches, latest_period, together
from streams.answers.opened_batch import PARTS, open_batch, telling_batch
from streams.answers.page import MOST_REQUESTS, environment, largest_change
from streams.answers.periods import Period
from streams.answers.plots import plot_power
from streams.answers.recompute import Check, recompute
from streams.answers.report import make_report
from streams.answers.summary import combined, tenant_rows
from streams.answers.tenant_view import largest_requests, power_plot_of
from streams.answers.token_price import OUTPUT_WEIGHT
from streams.batch import ACCOUNTS

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

__all__ = [
    "SPANS",
    "Viewer",
    "batch_view",
    "fleet_view",
    "message",
    "receipt_view",
    "tenant_view",
    "tenants_view",
]

SPANS: Final = {
    "15 min": timedelta(minutes=15),
    "1 h": timedelta(hours=1),
    "24 h": timedelta(days=1),
    "30 d": timedelta(days=30),
}
"""Periods that a view offers, back from the last window on record."""
FOLLOW_S: Final = 5
MOST_BATCHES: Final = 10
PART_NAMES: Final = {
    "fixed": "its part of what every iteration costs",
    "tokens": "being served, token by token",
    "prompt": "its prompt",
    "context": "its context",
    "experts": "experts that it needs",
    "knee": "crowding beyond the knee",
}


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who looks."""

    name: str
    """Shown beside the way out; empty where nobody had to sign in."""
    operator: bool


def render(template: str, viewer: Viewer | None, here: str = "", **context: Any) -> str:
    """A view as HTML."""
    nav = [("/", "Fleet"), ("/tenants", "Tenants")] if viewer and viewer.operator else []
    return (
        environment()
        .get_template(template)
        .render(
            nav=nav,
            here=here,
            viewer=viewer.name if viewer else "",
            operator=bool(viewer and viewer.operator),
            tenant_link=lambda name: f"/tenants/{quote(name, safe='')}",
            report_link=lambda name: f"/reports/{quote(name, safe='')}",
            batch_link=lambda batch_id: f"/batches/{quote(batch_id, safe='')}",
            receipt_link=lambda request_id: f"/receipts/{quote(request_id, safe='')}",
            **{"follow": 0} | context,
        )
    )


def message(heading: str, text: str, viewer: Viewer | None = None) -> str:
    """A page that says one thing."""
    return render("message.html.j2", viewer, heading=heading, message=text)


def period_of(client: "Client", span: str) -> Period:
    """The last `span` on record; DataError for an unknown span or an empty ledger."""
    if span not in SPANS:
        raise DataError(f"span {span!r} is none of {', '.join(SPANS)}")
    period = latest_period(client, SPANS[span])
    if period is None:
        raise DataError("the ledger is empty: let a worker run for a window or two, then look again")
    return period


def fleet_view(client: "Client", viewer: Viewer, span: str, *, follow: bool, now: datetime) -> str:
    """Power, attributed, idle and coverage now; power over `span`; groups; the latest batches."""
    period = period_of(client, span)
    groups = groups_now(client, period.end)
    books = fleet.books(client, period)
    power = fleet.power(client, period)
    accounts_w = [sum(group.power_w[i] for group in groups) for i in range(len(ACCOUNTS))]
    age_s = max(0.0, (now - period.end).total_seconds())
    return render(
        "fleet.html.j2",
        viewer,
        "/",
        follow=FOLLOW_S if follow else 0,
        span=span,
        spans=list(SPANS),
        period=period,
        age_s=age_s,
        age=_age(age_s),
        now_s=NOW_S,
        accounts=ACCOUNTS,
        accounts_w=accounts_w,
        total_w=sum(accounts_w),
        groups=groups,
        widest_w=max((group.total_w for group in groups), default=0.0) or 1.0,
        open_by_group={group.group_id: group.batches - group.closed for group in books},
        totals=fleet.totals(books),
        fleet_plot=plot_power(together(power, "the fleet"), period),
        batches=latest_batches(client, period.end, MOST_BATCHES),
        telling=telling_batch(client, period),
    )


def tenants_view(client: "Client", viewer: Viewer, span: str) -> str:
    """Every tenant of the last `span`, beside what a price per token would have charged."""
    period = period_of(client, span)
    rows = tenant_rows(client, period.start, period.end)
    return render(
        "tenants.html.j2",
        viewer,
        "/tenants",
        span=span,
        spans=list(SPANS),
        period=period,
        tenants=rows,
        all_tenants=combined("All tenants", rows),
        widest=largest_change(rows),
        misplaced_uj=sum(abs(row.difference_uj) for row in rows) / 2,
        output_weight=OUTPUT_WEIGHT,
    )


def tenant_view(client: "Client", viewer: Viewer, tenant: str, span: str, *, now: datetime) -> str:
    """One tenant over the last `span`: its report's figures, its power, its largest requests.

    Raises DataError for a tenant that nobody knows.
    """
    period = period_of(client, span)
    report = make_report(client, tenant, period, now)
    largest = largest_requests(client, tenant, period)
    return render(
        "tenant.html.j2",
        viewer,
        span=span,
        spans=list(SPANS),
        report=report,
        start=period.start,
        end=period.end,
        requests=sum(line.requests for line in report.models),
        emitted=sum(line.emitted_tokens for line in report.models),
        token_uj=sum(line.token_price_uj for line in report.models),
        halved_uj=sum(line.saved_by_halved_prompts_uj for line in report.models),
        shorter_uj=sum(line.saved_by_shorter_answers_uj for line in report.models),
        cost=report.cost(report.total_uj),
        largest=largest,
        largest_uj=max((one.energy_uj for one in largest), default=1),
        **power_plot_of(client, tenant, period),
    )


def batch_view(client: "Client", viewer: Viewer, batch_id: str) -> str:
    """A batch opened up; DataError where there is none of that id."""
    batch = open_batch(client, batch_id)
    if batch is None:
        raise DataError(f"no batch {batch_id!r}")
    alone = [share.first_uj for share in batch.shares if share.first_uj is not None]
    whole = len(alone) == len(batch.shares)
    parts = [part for part in PARTS if any(part in share.parts_uj for share in batch.shares)]
    return render(
        "batch.html.j2",
        viewer,
        batch=batch,
        shown=batch.shares[:MOST_REQUESTS],
        parts=parts,
        part_names=PART_NAMES,
        alone_uj=sum(alone),
        widest_uj=max(alone, default=0.0) if whole else 0.0,
    )


def receipt_view(viewer: Viewer, receipt: dict[str, Any], lineage: dict[str, Any], *, kid: str) -> str:
    """A receipt whose signature by key `kid` was checked, with everything in it computed again."""
    return render(
        "receipt.html.j2",
        viewer,
        receipt=receipt,
        lineage=lineage,
        kid=kid,
        summary=_summary(recompute(receipt, lineage), len(lineage["batches"])),
        most=MOST_REQUESTS,
    )


def receipt_file(jws: str, receipt: dict[str, Any], lineage: dict[str, Any]) -> bytes:
    """What `wattledger verify` reads."""
    document = {"jws": jws, "receipt": receipt, "lineage": lineage}
    return json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"


def _summary(checks: Sequence[Check], batches: int) -> list[dict[str, str]]:
    """Checks of one kind as one line."""
    kinds = (
        ("share of", "The shares follow from the lineage", f"of {batches} batches, each to within 1 µJ"),
        ("meter of", "The meters follow from their raw readings", "exactly, in integers"),
        (
            "part of load",
            "The part of the model load follows from its energy and the request's place",
            "exactly",
        ),
        ("energy of", "Shares add up to the receipt", "exactly"),
    )
    lines = [{"state": "ok", "what": "The lineage is the one that was signed", "detail": "by its SHA-256"}]
    for start, what, detail in kinds:
        found = [check for check in checks if check.what.startswith(start)]
        computed = [check for check in found if check.computed is not None]
        off = [check for check in found if not check.holds]
        if off:
            lines.append({"state": "off", "what": f"{what}: not so", "detail": off[0].what})
        elif computed:
            lines.append(
                {
                    "state": "ok",
                    "what": what,
                    "detail": f"{len(computed)} {detail}" if start == "share of" else detail,
                }
            )
        elif found:
            lines.append({"state": "none", "what": f"{what}: not from here", "detail": found[0].why})
    return lines


def _age(seconds: float) -> str:
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
