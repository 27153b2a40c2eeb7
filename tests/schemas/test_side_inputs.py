"""Side inputs as JSON: back unchanged, unknown fields ignored, bad ones refused by name, garbage never worse."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import side_input_codec as codec
from schemas.errors import MalformedMessage
from schemas.side_inputs import EngineDescriptor, GridIntensity, Load, ModelVersion, Policy
from schemas.topics import GRID, POLICIES, TOPICS
from tests import strategies

DECODERS = [
    codec.decode_engine,
    codec.decode_model,
    codec.decode_policy,
    codec.decode_grid,
    codec.decode_load,
]
EXAMPLES = {
    topic.name: [example["value"] for example in topic.examples if "value" in example] for topic in TOPICS
}


@given(strategies.engines())
def test_engines_come_back_unchanged(engine: EngineDescriptor):
    assert codec.decode_engine(codec.encode_engine(engine)) == engine


@given(strategies.models())
def test_models_come_back_unchanged(model: ModelVersion):
    assert codec.decode_model(codec.encode_model(model)) == model


@given(strategies.policies())
def test_policies_come_back_unchanged(policy: Policy):
    assert codec.decode_policy(codec.encode_policy(policy)) == policy


@given(strategies.grids())
def test_intensities_come_back_unchanged(grid: GridIntensity):
    assert codec.decode_grid(codec.encode_grid(grid)) == grid


@given(strategies.loads())
def test_loads_come_back_unchanged(load: Load):
    assert codec.decode_load(codec.encode_load(load)) == load


@given(strategies.loads())
def test_fields_of_a_newer_version_do_no_harm(load: Load):
    document = json.loads(codec.encode_load(load)) | {"added_later": {"deep": [1, None]}}
    assert codec.decode_load(json.dumps(document).encode()) == load


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


@given(st.binary(max_size=200) | JSON_VALUES.map(lambda value: json.dumps(value).encode()))
def test_garbage_is_malformed_and_nothing_worse(data: bytes):
    for decode in DECODERS:
        with pytest.raises(MalformedMessage):
            decode(data)


@given(st.sampled_from([value for values in EXAMPLES.values() for value in values]), st.data())
def test_a_document_with_one_wild_value_is_read_or_malformed(example: dict[str, object], data: st.DataObject):
    field = data.draw(st.sampled_from(sorted(example)))
    document = json.dumps({**example, field: data.draw(JSON_VALUES)}).encode()
    for decode in DECODERS:
        with contextlib.suppress(MalformedMessage):
            decode(document)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"[" * 100_000, "not JSON"),
        (b'{"a": 1, "a": 2}', "'a' is there twice"),
        (b'{"a": NaN}', "NaN"),
        (b"{" + b" " * 300_000 + b"}", "300002 bytes"),
        (b'{"name": "' + b"9" * 5000 + b'"}', "name: "),
        (b'{"name": "idle", "effective_from_ns": ' + b"9" * 5000 + b"}", "not JSON"),
        (b'{"name": "\\ud800", "effective_from_ns": 1, "values": {"policy": "provider"}}', "surrogate"),
        (b'{"name": "idle", "effective_from_ns": 1}', "values: "),
    ],
)
def test_a_policy_that_cannot_be_read_says_why(data: bytes, message: str):
    with pytest.raises(MalformedMessage, match=message):
        codec.decode_policy(data)


@pytest.mark.parametrize(
    ("topic", "change", "message"),
    [
        (GRID, {"g_per_kwh": 2000.5}, r"g_per_kwh: 2000.5; must be a finite number from 0 to 2000"),
        (GRID, {"valid_to_ns": 1}, "valid_to_ns: 1; "),
        (GRID, {"basis": "guess"}, 'basis: "guess"; must be one of location, market'),
        (
            POLICIES,
            {"name": "pue", "values": {"fra-2": 0.99}},
            r"values.fra-2: 0.99; must be a finite number from 1 to 5",
        ),
        (POLICIES, {"name": "cold_start", "values": {"amortise_over": 0}}, "amortise_over: 0; "),
        (POLICIES, {"name": "cold_start", "values": {"after": 7}}, "amortise_over: missing"),
        (POLICIES, {"name": "idle", "values": {"policy": "nobody"}}, "provider, residency"),
    ],
)
def test_a_value_out_of_range_is_refused_with_field_and_value(
    topic: str, change: dict[str, object], message: str
):
    decode = codec.decode_grid if topic == GRID else codec.decode_policy
    with pytest.raises(MalformedMessage, match=message):
        decode(json.dumps({**EXAMPLES[topic][0], **change}).encode())


def test_what_would_be_refused_is_not_encoded():
    with pytest.raises(MalformedMessage, match=r"GridIntensity: .* JSON"):
        codec.encode_grid(GridIntensity("DE", 1, 2, float("nan"), "location", "s", False))
    with pytest.raises(MalformedMessage, match="end_ns"):
        codec.encode_load(Load("l", "wake_up", "g", "e", "i", 5, 5, "m"))
