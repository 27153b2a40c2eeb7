"""The page stands alone, says what the books say, and can be read by everyone."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from schemas.errors import DataError
from streams.answers.page import environment, write_page
from streams.answers.quantities import ENERGY_UNITS, fitting
from tests.answers.conftest import Ledger

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

VOID = {"meta", "br", "path", "link", "img"}


class _Reader(HTMLParser):
    """Checks that tags nest, and keeps what the tests ask for."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append((tag, found))
        if found.get("id"):
            self.ids.append(str(found["id"]))
        if tag not in VOID or (tag == "path" and not self.get_starttag_text().endswith("/>")):  # type: ignore[union-attr]
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page(ledger: Ledger, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "index.html"
    write_page(ledger.client, path)
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def read(page: str) -> _Reader:
    reader = _Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


def test_it_loads_nothing_and_runs_nothing(page: str, read: _Reader) -> None:
    assert not {"script", "link", "img", "iframe", "object"} & {tag for tag, _ in read.tags}
    assert not [name for _, attributes in read.tags for name in attributes if name.startswith("on")]
    assert not re.search(r"url\(|@import|https?://", page)
    assert all(str(attributes["href"]).startswith("#") for _, attributes in read.tags if "href" in attributes)


def test_the_same_ledger_gives_the_same_bytes(ledger: Ledger, page: str, tmp_path: Path) -> None:
    write_page(ledger.client, tmp_path / "again.html")
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == page


def test_its_accounts_are_those_of_the_batches(ledger: Ledger, page: str) -> None:
    batches = ledger.filled.batches
    unit = fitting([sum(batch.metered_uj for batch in batches)], ENERGY_UNITS)
    for account in ("request", "idle", "cold_start", "overhead", "unobserved"):
        booked_uj = sum(batch.account_uj(account) for batch in batches)
        assert f"{account.replace('_', ' ')} <b>{unit.of(booked_uj)} {unit.symbol}</b>" in page
    assert f'{len(batches)} <span class="unit">of {len(batches)}</span>' in page


def test_every_tenant_and_every_group_is_named(ledger: Ledger, page: str) -> None:
    for batch in ledger.filled.batches:
        assert batch.group_id.rsplit("/", 1)[-1] in page
        for lines in batch.requests:
            assert all(f">{tenant}</th>" in page for tenant in set(lines.window.requests.tenant))


def test_every_picture_says_in_words_what_it_shows(read: _Reader) -> None:
    pictures = [
        attributes for tag, attributes in read.tags if tag == "svg" or attributes.get("role") == "img"
    ]
    assert len(pictures) == 1 + 6 + 1, "the strip of accounts, six groups, the scatter plot"
    assert all(len(str(attributes.get("aria-label", ""))) > 20 for attributes in pictures)


def test_headings_label_their_sections_and_ids_are_unique(read: _Reader) -> None:
    assert len(read.ids) == len(set(read.ids))
    labels = {attributes["aria-labelledby"] for _, attributes in read.tags if "aria-labelledby" in attributes}
    assert labels <= set(read.ids)
    assert dict(read.tags)["html"] == {"lang": "en"}


def test_what_scrolls_can_be_reached_by_the_keyboard(read: _Reader) -> None:
    regions = [
        attributes for _, attributes in read.tags if "scroll" in str(attributes.get("class", "")).split()
    ]
    assert regions
    assert all(
        attributes.get("tabindex") == "0" and attributes.get("role") == "region" for attributes in regions
    )


def _luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark", "print"])
def test_text_and_marks_stand_out_from_the_paper(scheme: str) -> None:
    css = environment().get_template("page.css.j2").render()
    root = re.findall(r":root \{(.*?)\}", css, re.DOTALL)[["light", "dark", "print"].index(scheme)]
    colours = {
        name: value if len(value) == 7 else "#" + "".join(2 * c for c in value[1:])
        for name, value in re.findall(r"--([\w-]+): (#[0-9a-f]{3,6})", root)
    }
    for text in ("ink", "soft", "accent", "over", "under", "unobserved"):
        for ground in ("paper", "raised"):
            assert _contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    for mark in ("request", "cold_start", "overhead", "e0", "e1", "e2", "e3", "e4", "e5"):
        assert _contrast(colours[mark], colours["paper"]) >= 3.0, mark
    assert _contrast(colours["idle"], colours["paper"]) >= 2.5


def test_a_tenant_name_is_text_never_markup(ledger: Ledger) -> None:
    template = environment().from_string("{{ name }}")
    assert template.render(name="<script>alert(1)</script>") == "&lt;script&gt;alert(1)&lt;/script&gt;"


def test_an_empty_ledger_is_refused_with_what_to_do(database: "Client", tmp_path: Path) -> None:
    with pytest.raises(DataError, match="let a worker run"):
        write_page(database, tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()
