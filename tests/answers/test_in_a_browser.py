"""Pages in a real Chromium: nothing overflows a phone, and paper gets all of it. Skipped without a browser."""

import html
import os
import re
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from streams.answers import views
from streams.answers.opened_batch import telling_batch
from streams.answers.page import render_page
from streams.answers.receipts import make_receipt
from streams.answers.report import make_report
from streams.answers.report_page import BROWSERS, FLAGS, as_html, as_pdf
from tests.answers.conftest import Ledger

BROWSER = next((found for name in BROWSERS if (found := shutil.which(name))), None)
ROOT = os.geteuid() == 0
pytestmark = pytest.mark.skipif(BROWSER is None, reason=f"no Chromium on the PATH ({', '.join(BROWSERS)})")

WIDTHS = (360, 390, 820, 1280)
TENANT = "yarrow-health"
OPERATOR = views.Viewer("", operator=True)

# Every page at every width in one browser: each frame's scroll width and what is drawn, when all are loaded.
OUTER = """<!doctype html><body>{frames}<script>
window.onload = () => {{ document.body.dataset.result = [...document.querySelectorAll("iframe")].map(f => {{
  const d = f.contentDocument;
  const marks = d.querySelectorAll("svg path, .bars i, .terms i, .range i, .track i");
  return d.documentElement.scrollWidth + "/" + marks.length;
}}).join(" "); }};
</script></body>"""


def measured(pages: dict[str, str], directory: Path) -> dict[tuple[str, int], tuple[int, int]]:
    """(scroll width, marks drawn) of every page in a frame of every width."""
    keys = [(name, width) for name in pages for width in WIDTHS]
    frames = "".join(
        f'<iframe width="{width}" height="800" srcdoc="{html.escape(pages[name])}"></iframe>'
        for name, width in keys
    )
    outer = directory / "outer.html"
    outer.write_text(OUTER.format(frames=frames), encoding="utf-8")
    command = [
        str(BROWSER), *FLAGS, *(("--no-sandbox",) if ROOT else ()), f"--user-data-dir={directory / 'profile'}",
        "--virtual-time-budget=20000", "--dump-dom", outer.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, timeout=180, check=True)
    found = re.search(r'data-result="([^"]+)"', done.stdout.decode())
    assert found is not None
    figures = [tuple(map(int, one.split("/"))) for one in found[1].split()]
    return dict(zip(keys, figures, strict=True))


def test_no_view_is_wider_than_its_screen(ledger: Ledger, tmp_path: Path) -> None:
    client, now = ledger.client, datetime.now(UTC)
    batch_id = telling_batch(client, ledger.period)
    assert batch_id is not None
    request_id = str(
        client.command(f"SELECT max(request_id) FROM receipts WHERE tenant = '{TENANT}' AND batches > 1")
    )
    receipt, lineage = make_receipt(
        client, request_id, tenant=None, issuer="wattledger", base_url="", issued_at=now
    )
    pages = {
        "page": render_page(client, title="Where every joule went"),
        "fleet": views.fleet_view(client, OPERATOR, "1 h", follow=False, now=now),
        "tenants": views.tenants_view(client, OPERATOR, "1 h"),
        "tenant": views.tenant_view(client, OPERATOR, TENANT, "1 h", now=now),
        "batch": views.batch_view(client, OPERATOR, batch_id),
        "receipt": views.receipt_view(OPERATOR, receipt, lineage, kid="kid"),
        "report": as_html(make_report(client, TENANT, ledger.period, now)).decode(),
    }
    for (name, width), (scroll_width, marks) in measured(pages, tmp_path).items():
        assert scroll_width <= width, (name, width)
        assert marks > 0, name


def test_a_report_prints(ledger: Ledger) -> None:
    report = as_html(make_report(ledger.client, TENANT, ledger.period, datetime.now(UTC)))
    assert as_pdf(report, sandbox=not ROOT).startswith(b"%PDF-")
