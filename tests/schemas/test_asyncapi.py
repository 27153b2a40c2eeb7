"""The AsyncAPI document is what the topics declare, and is valid AsyncAPI 3.0.0."""

import copy
import json
from pathlib import Path

import jsonschema
import yaml

from schemas.topics import TOPICS
from tools.asyncapi import TARGET, document, render

SCHEMA = json.loads((Path(__file__).parent / "asyncapi" / "3.0.0.json").read_text(encoding="utf-8"))
VALIDATOR = jsonschema.Draft7Validator(SCHEMA)


def test_the_committed_document_is_current():
    assert TARGET.read_text(encoding="utf-8") == render(), "run `python -m tools.asyncapi`"


def test_the_document_is_valid_asyncapi():
    assert [error.message for error in VALIDATOR.iter_errors(yaml.safe_load(render()))] == []


def test_the_check_tells_an_invalid_document():
    broken = copy.deepcopy(document())
    broken["channels"]["energy"]["address"] = 7
    assert not VALIDATOR.is_valid(broken)


def test_every_reference_leads_somewhere():
    whole = document()

    def follow(node: object) -> None:
        if isinstance(node, dict):
            target = node.get("$ref")
            if target is not None:
                found = whole
                for part in target.removeprefix("#/").split("/"):
                    found = found[part]
                assert found
            for child in node.values():
                follow(child)
        elif isinstance(node, list):
            for child in node:
                follow(child)

    follow(whole)


def test_every_topic_is_a_channel():
    addresses = [channel["address"] for channel in document()["channels"].values()]
    assert addresses == [topic.name for topic in TOPICS]
