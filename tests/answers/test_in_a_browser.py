"""Pages in a real Chromium: nothing overflows a phone, and paper gets all of it. Skipped without a browser."""

import html
import os
import re
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from streams.answers.page import write_page
from streams.answers.report import make_report
from streams.answers.report_page import BROWSERS, FLAGS, as_html, as_pdf
from tests.answers.conftest import Ledger

BROWSER = next((found for name in BROWSERS if (found := shutil.which(name))), None)
ROOT = os.geteuid() == 0
pytestmark = pytest.mark.skipif(BROWSER is None, reason=f"no Chromium on the PATH ({', '.join(BROWSERS)})")

MEASURE = """<!doctype html><body><iframe id="f" width="{width}" height="800" srcdoc="{page}"></iframe><script>
document.getElementById("f").onload = e => {{ const d = e.target.contentDocument;
  document.body.dataset.result = d.documentElement.scrollWidth + " " + d.querySelectorAll("svg path").length; }};
</script></body>"""


def measured(page: str, width: int, directory: Path) -> tuple[int, int]:
    """(scroll width, paths drawn) of `page` in a frame `width` pixels wide."""
    outer = directory / "outer.html"
    outer.write_text(MEASURE.format(width=width, page=html.escape(page)), encoding="utf-8")
    command = [
        str(BROWSER), *FLAGS, *(("--no-sandbox",) if ROOT else ()), f"--user-data-dir={directory / 'profile'}",
        "--virtual-time-budget=10000", "--dump-dom", outer.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, timeout=120, check=True)
    found = re.search(r'data-result="(\d+) (\d+)"', done.stdout.decode())
    assert found is not None
    return int(found[1]), int(found[2])


@pytest.mark.parametrize("width", [360, 390, 820, 1280])
def test_no_page_is_wider_than_its_screen(ledger: Ledger, tmp_path: Path, width: int) -> None:
    write_page(ledger.client, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    scroll_width, paths = measured(page, width, tmp_path)
    assert scroll_width <= width
    assert paths > 10


def test_a_report_fits_a_phone_and_prints(ledger: Ledger, tmp_path: Path) -> None:
    report = as_html(make_report(ledger.client, "yarrow-health", ledger.period, datetime.now(UTC)))
    assert measured(report.decode(), 390, tmp_path)[0] <= 390
    assert as_pdf(report, sandbox=not ROOT).startswith(b"%PDF-")
