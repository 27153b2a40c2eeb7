"""A report as one self-contained page, and as PDF through a headless Chromium."""

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from schemas.errors import ConfigurationError
from streams.answers.page import environment
from streams.answers.report import Report

__all__ = ["as_html", "as_pdf"]

BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PDF_TIMEOUT_S: Final = 120
FLAGS: Final = (
    "--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-pdf-header-footer",
)  # fmt: skip


def as_html(report: Report, *, number: str = "", corrections: Sequence[dict[str, Any]] = ()) -> bytes:
    """The page; the same report gives the same bytes."""
    start, end = datetime.fromisoformat(report.start), datetime.fromisoformat(report.end)
    hourly = _hourly(report)
    page = environment().get_template("report.html.j2").render(
        report=report,
        number=number,
        corrections=corrections,
        start=start,
        end=end,
        requests=sum(line.requests for line in report.models),
        emitted=sum(line.emitted_tokens for line in report.models),
        cost=report.cost(report.total_uj),
        hourly=hourly,
        hour_path=_hour_path(hourly, start, end),
        halved_uj=sum(line.saved_by_halved_prompts_uj for line in report.models),
        shorter_uj=sum(line.saved_by_shorter_answers_uj for line in report.models),
        token_uj=sum(line.token_price_uj for line in report.models),
    )  # fmt: skip
    return page.encode()


def _hourly(report: Report) -> list[tuple[str, int]]:
    totals: dict[str, int] = {}
    for line in report.hours:
        totals[line.hour] = totals.get(line.hour, 0) + line.energy_uj
    return sorted(totals.items())


def _hour_path(hourly: list[tuple[str, int]], start: datetime, end: datetime) -> str:
    """One bar per hour in a box of 1000 × 100."""
    most_uj = max((uj for _, uj in hourly), default=1) or 1
    bars = []
    for hour, uj in hourly:
        at = datetime.fromisoformat(hour)
        left, right = (
            1000 * min(max((instant - start) / (end - start), 0.0), 1.0)
            for instant in (at, at + timedelta(hours=1))
        )
        bars.append(f"M{left:.2f} 100V{100 - 100 * uj / most_uj:.2f}H{right:.2f}V100Z")
    return "".join(bars)


def as_pdf(html: bytes, *, sandbox: bool = True) -> bytes:
    """`html` printed on A4. Raises ConfigurationError where no Chromium is found, or it fails.

    `sandbox=False` is for containers in which the browser runs as root and its sandbox cannot start.
    """
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        raise ConfigurationError(
            f"PDF needs a Chromium on the PATH ({', '.join(BROWSERS)}): install one, or use --format html"
        )
    with tempfile.TemporaryDirectory(prefix="wattledger-pdf-") as name:
        directory = Path(name)
        page, out = directory / "report.html", directory / "report.pdf"
        page.write_bytes(html)
        command = [
            browser, *FLAGS, *(() if sandbox else ("--no-sandbox",)),
            f"--user-data-dir={directory / 'profile'}", f"--print-to-pdf={out}", page.as_uri(),
        ]  # fmt: skip
        try:
            done = subprocess.run(command, capture_output=True, timeout=PDF_TIMEOUT_S, check=False)  # noqa: S603
        except subprocess.TimeoutExpired:
            raise ConfigurationError(f"{browser} did not finish printing within {PDF_TIMEOUT_S} s") from None
        if not out.exists():
            said = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:] or ["it said nothing"]
            raise ConfigurationError(
                f"{browser} printed nothing ({said[0][:200]}); running as root needs --no-sandbox"
            )
        return out.read_bytes()
