"""Topic declarations: complete, co-partitioned where the worker needs it, examples true to their schemas."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

import schemas
from schemas import topics
from schemas.errors import MalformedMessage
from schemas.side_input_codec import decode_engine, decode_grid, decode_load, decode_model, decode_policy
from schemas.side_inputs import EngineDescriptor, GridIntensity, Load, ModelVersion, Policy
from schemas.topics import TOPICS, Topic

DECODERS = {
    topics.ENGINES: (decode_engine, EngineDescriptor),
    topics.MODELS: (decode_model, ModelVersion),
    topics.POLICIES: (decode_policy, Policy),
    topics.GRID: (decode_grid, GridIntensity),
    topics.LOADS: (decode_load, Load),
}
JSON_TOPICS = [topic for topic in TOPICS if topic.message["format"] == "json"]


def name_of(topic: Topic) -> str:
    return topic.name


def test_every_file_is_a_topic_and_every_name_a_constant():
    files = list((Path(schemas.__file__).parent / "topics").glob("*.yaml"))
    constants = {value for name, value in vars(topics).items() if name.isupper() and isinstance(value, str)}
    assert len(files) == len(TOPICS) == 8
    assert {topic.name for topic in TOPICS} == constants


def test_the_first_three_are_co_partitioned_and_no_other():
    together = [topic for topic in TOPICS if topic.co_partitioned]
    assert [topic.name for topic in together] == [topics.ITERATIONS, topics.ENERGY, topics.LOADS]
    assert {(topic.partitions, topic.key) for topic in together} == {(64, "group_id")}


@pytest.mark.parametrize("topic", TOPICS, ids=name_of)
def test_the_broker_stamps_the_arrival(topic: Topic):
    assert topic.config["message.timestamp.type"] == "LogAppendTime"
    assert set(map(type, topic.config.values())) == {str}


def test_superseded_versions_stay_as_long_as_an_event_that_may_need_them():
    longest = max(topic.retention_ms for topic in TOPICS if topic.co_partitioned)
    for topic in TOPICS:
        if topic.config["cleanup.policy"] == "compact":
            assert int(topic.config["min.compaction.lag.ms"]) >= longest
            assert topic.retention_ms == -1


@pytest.mark.parametrize("topic", JSON_TOPICS, ids=name_of)
def test_the_examples_fit_schema_and_decoder(topic: Topic):
    assert topic.examples
    for example in topic.examples:
        jsonschema.Draft202012Validator(topic.message["schema"]).validate(example["value"])
        DECODERS[topic.name][0](json.dumps(example["value"]).encode())


@pytest.mark.parametrize("topic", JSON_TOPICS, ids=name_of)
def test_the_schema_declares_exactly_the_fields_of_the_data_class(topic: Topic):
    fields = dataclasses.fields(DECODERS[topic.name][1])
    schema = topic.message["schema"]
    assert list(schema["properties"]) == [field.name for field in fields]
    optional = {name for name, declared in schema["properties"].items() if name not in schema["required"]}
    defaulted = {
        field.name
        for field in fields
        if field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
    }
    assert optional == defaulted - {"values"}


def refusal(decode: Callable[[bytes], object], document: dict[str, object]) -> str | None:
    """What the decoder says against a document."""
    try:
        decode(json.dumps(document).encode())
    except MalformedMessage as error:
        return str(error)
    return None


WRONG = [None, True, -1, 0, 1.5, "", "x" * 600, [], {}, ["", ""], 2**80, {"a": None}, [[1.0]]]


@pytest.mark.parametrize("topic", JSON_TOPICS, ids=name_of)
def test_schema_and_decoder_agree_on_every_wrong_field(topic: Topic):
    """Each field of each example, missing or replaced: refused by both, named by the decoder."""
    decode, _ = DECODERS[topic.name]
    validator = jsonschema.Draft202012Validator(topic.message["schema"])
    looser = {"start_ns", "end_ns", "valid_from_ns", "valid_to_ns", "effective_from_ns", "covariance"}
    for example in topic.examples:
        for field in topic.message["schema"]["properties"]:
            without = {name: value for name, value in example["value"].items() if name != field}
            documents = [without] + [{**without, field: value} for value in WRONG]
            for document in documents:
                refused = refusal(decode, document)
                if refused is None:
                    assert validator.is_valid(document), document
                else:
                    # The decoder also knows what a schema cannot say: bounds of time, shapes, relations.
                    related = field in looser or document.get(field) == 2**80
                    assert related or not validator.is_valid(document), (document, refused)
                    assert field in refused or field == "experts_total"
