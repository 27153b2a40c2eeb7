"""No field of any schema can hold what users wrote or models answered: each that holds text is listed here."""

import ast
import re
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from producers import wire
from schemas.proto import frames_v1_pb2
from schemas.topics import TOPICS
from streams.ledger.tables import arrow_schema, declared

ROOT = Path(__file__).parents[2]

FRAME_TEXT = {
    "IterationFrame": {
        "group_id",
        "engine_id",
        "incarnation",
        "tenants",  # names that the gateway gives
        "loads",
        "adapters",  # names of adapters
        "request_client_id_prefix",  # the client's own ids
        "request_client_ids",
    },
    "EnergyFrame": {"group_id", "node_id", "incarnation", "engines"},
    "Meter": {"meter_id", "kind", "epoch", "scope", "source"},
    "ActiveLoad": {"load_id", "engine_id"},
}
"""Whoever adds a field of text must say here what it holds."""

CONTENT = re.compile(
    r"prompt|output|completion|response|content|message|chat|body|text|token_ids|logits|embedding",
    re.IGNORECASE,
)
NOT_CONTENT = {
    "prompt_tokens",
    "requests_prompt",
    "html",
}
"""Names that sound like it and are counts."""


def messages(descriptor: Descriptor) -> list[Descriptor]:
    return [descriptor, *(one for nested in descriptor.nested_types for one in messages(nested))]


def holds_text(field: FieldDescriptor) -> bool:
    return field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES)


def test_every_field_of_text_in_a_frame_is_an_identifier_that_is_listed() -> None:
    found: dict[str, set[str]] = {}
    for top in frames_v1_pb2.DESCRIPTOR.message_types_by_name.values():
        for message in messages(top):
            texts = {field.name for field in message.fields if holds_text(field)}
            if texts:
                found[message.name] = texts
    assert found == FRAME_TEXT


def test_no_column_of_the_ledger_is_named_after_content_but_counts_of_it() -> None:
    for table in declared():
        for field in arrow_schema(table):
            if CONTENT.search(field.name) and field.name not in NOT_CONTENT:
                assert not re.search("string|binary", str(field.type)), f"{table}.{field.name}"


def strings(schema: Any, name: str = "") -> set[str]:
    """Names of a JSON Schema's properties that may be free text: strings without a bound or a choice."""
    if not isinstance(schema, dict):
        return set()
    found = set()
    if schema.get("type") == "string" and not {"maxLength", "enum", "const", "pattern", "format"} & set(
        schema
    ):
        found.add(name)
    for key, below in schema.get("properties", {}).items():
        found |= strings(below, key)
    for key in ("items", "additionalProperties"):
        found |= strings(schema.get(key), name)
    return found


def test_every_text_of_a_topic_in_json_is_bounded_and_none_is_content() -> None:
    for topic in TOPICS:
        schema = topic.message.get("schema")
        if schema is not None:
            assert not strings(schema), f"{topic.name}: give these a maxLength"
            assert not [name for name in schema["properties"] if CONTENT.search(name)], topic.name


def test_a_hook_tells_its_agent_nothing_beyond_names() -> None:
    texts = {
        f"{kind.__name__}.{name}"
        for kind in (wire.Hello, wire.Welcome, wire.Refused, wire.Off)
        for name, hint in kind.__annotations__.items()
        if "str" in str(hint)
    }
    assert not [name for name in texts if CONTENT.search(name.partition(".")[2])]


TOKENS = {
    "all_token_ids",
    "initial_tokens",
    "input_ids",
    "new_token_ids",
    "origin_input_ids",
    "output_ids",
    "output_token_ids",
    "prompt",
    "prompt_embeds",
    "prompt_token_ids",
    "sampled_token_ids",
    "text",
}
"""What engines call the tokens and the text of a request."""


def test_hooks_count_tokens_and_look_at_none() -> None:
    """By their source: what holds a request's tokens appears in `len(...)` only."""
    looked_at = []
    for path in (ROOT / "producers" / "hooks").glob("*.py"):
        tree = ast.parse(path.read_text())
        counted = {
            id(inner)
            for call in ast.walk(tree)
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "len"
            for inner in ast.walk(call)
        }
        looked_at += [
            f"{path.name}:{node.lineno} .{node.attr}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and node.attr in TOKENS and id(node) not in counted
        ]
    assert looked_at == []
