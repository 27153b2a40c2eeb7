"""Lineages are JSON-LD that a processor which is not ours understands, without a network."""

from datetime import UTC, datetime
from typing import Any

import pytest
from pyld import jsonld

from streams.answers.lineage import context_document
from streams.answers.receipts import make_receipt
from tests.answers.conftest import Ledger

PROV = "http://www.w3.org/ns/prov#"
OURS = "urn:wattledger:receipt:v1#"
BASE = "http://receipts.example"


def offline(url: str, options: Any) -> dict[str, Any]:
    """The published context, and nothing else in the world."""
    del options
    assert url == f"{BASE}/v1/context.jsonld", url
    return {"contextUrl": None, "documentUrl": url, "document": context_document(),
            "contentType": "application/ld+json"}  # fmt: skip


@pytest.fixture(scope="module")
def lineage(ledger: Ledger) -> dict[str, Any]:
    request_id = str(
        ledger.client.command("SELECT min(request_id) FROM receipts WHERE cold_start_uj > 0 AND batches > 1")
    )
    _, document = make_receipt(
        ledger.client, request_id, tenant=None, issuer="wattledger", base_url=BASE,
        issued_at=datetime(2026, 9, 2, tzinfo=UTC),
    )  # fmt: skip
    return document


@pytest.fixture(scope="module")
def expanded(lineage: dict[str, Any]) -> dict[str, Any]:
    found = jsonld.expand(lineage, {"documentLoader": offline})
    assert len(found) == 1
    node: dict[str, Any] = found[0]
    return node


def test_no_member_is_lost_to_a_reader_of_linked_data(
    lineage: dict[str, Any], expanded: dict[str, Any]
) -> None:
    def members(document: dict[str, Any]) -> set[str]:
        return set(document) - {"@context", "id", "type"}

    back = jsonld.compact(expanded, context_document(), {"documentLoader": offline})
    assert members(back) == members(lineage)
    for ours, theirs in zip(lineage["batches"], back["batches"], strict=True):
        assert theirs["revisions"] == ours["revisions"]
        assert members(theirs) >= {name for name in members(ours) if ours[name] not in ([], None)}


def test_batches_are_what_the_request_was_derived_from(
    lineage: dict[str, Any], expanded: dict[str, Any]
) -> None:
    derived = expanded[f"{PROV}wasDerivedFrom"][0]["@list"]
    assert len(derived) == len(lineage["batches"])
    for batch, node in zip(lineage["batches"], derived, strict=True):
        assert node["@type"] == [f"{OURS}Batch"]
        started = node[f"{PROV}startedAtTime"][0]
        assert started == {"@type": "http://www.w3.org/2001/XMLSchema#dateTime", "@value": batch["start"]}
        share = node[f"{OURS}shareMicrojoules"][0]
        assert share == {"@type": "http://qudt.org/vocab/unit/MicroJ", "@value": batch["share_uj"]}


def test_quantities_and_readings_survive_as_triples(lineage: dict[str, Any]) -> None:
    triples = jsonld.to_rdf(lineage, {"documentLoader": offline})["@default"]
    predicates = {triple["predicate"]["value"] for triple in triples}
    assert {f"{PROV}wasDerivedFrom", f"{PROV}used", f"{OURS}share", f"{OURS}coldStart"} <= predicates
    assert all("://" in name or name.startswith("urn:") for name in predicates)
