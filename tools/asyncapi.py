"""Generate schemas/asyncapi.yaml from schemas/topics/*.yaml: `python -m tools.asyncapi`."""

import sys
from pathlib import Path
from typing import Any

import yaml

from schemas.envelope import VERSION
from schemas.topics import TOPICS, Topic

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "schemas" / "asyncapi.yaml"

HEADER = "# Generated from topics/*.yaml by `python -m tools.asyncapi`; do not edit.\n"


def document() -> dict[str, Any]:
    """The AsyncAPI 3.0.0 document of all topics."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "wattledger topics",
            "version": f"{VERSION}.0.0",
            "description": "What crosses Kafka between engines, node agents, pollers, operators and workers.",
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {_channel_id(topic): _channel(topic) for topic in TOPICS},
        "operations": {
            f"{action}_{_channel_id(topic)}": _operation(topic, action)
            for topic in TOPICS
            for action in ("send", "receive")
        },
        "components": {
            "messages": {topic.message["name"]: _message(topic) for topic in TOPICS},
            "schemas": {
                _schema_id(topic): {
                    "schemaFormat": "application/vnd.google.protobuf;version=3",
                    "schema": (ROOT / topic.message["source"]).read_text(encoding="utf-8"),
                }
                for topic in TOPICS
                if topic.message["format"] == "protobuf"
            },
        },
    }


def render() -> str:
    """The document as YAML text."""
    return HEADER + yaml.safe_dump(document(), sort_keys=False, allow_unicode=True, width=110)


def _channel_id(topic: Topic) -> str:
    return topic.name.removeprefix("wattledger.").removesuffix(".v1").replace("-", "_")


def _schema_id(topic: Topic) -> str:
    return Path(topic.message["source"]).stem


def _channel(topic: Topic) -> dict[str, Any]:
    # The Kafka binding names what it knows of a topic's settings, and leaves room for the others.
    numbers = {name: int(value) for name, value in topic.config.items() if value.lstrip("-").isdigit()}
    texts = {name: value for name, value in topic.config.items() if name not in numbers}
    texts["cleanup.policy"] = [texts["cleanup.policy"]]  # type: ignore[assignment]
    name = topic.message["name"]
    return {
        "address": topic.name,
        "title": topic.title,
        "description": topic.description,
        "messages": {name: {"$ref": f"#/components/messages/{name}"}},
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "topicConfiguration": texts | numbers,
                "bindingVersion": "0.5.0",
            }
        },
        "x-owner": topic.owner,
        "x-co-partitioned": topic.co_partitioned,
    }


def _operation(topic: Topic, action: str) -> dict[str, Any]:
    channel = f"#/channels/{_channel_id(topic)}"
    return {
        "action": action,
        "channel": {"$ref": channel},
        "messages": [{"$ref": f"{channel}/messages/{topic.message['name']}"}],
    }


def _message(topic: Topic) -> dict[str, Any]:
    declared = topic.message
    message: dict[str, Any] = {
        "name": declared["name"],
        "title": topic.title,
        "contentType": declared["content_type"],
        "bindings": {
            "kafka": {"key": {"type": "string", "description": topic.key}, "bindingVersion": "0.5.0"}
        },
    }
    if "headers" in declared:
        message["headers"] = declared["headers"]
    if declared["format"] == "json":
        message["payload"] = declared["schema"]
    elif declared["format"] == "protobuf":
        message["summary"] = f"{declared['protobuf']}. {declared['note']}"
        message["payload"] = {"$ref": f"#/components/schemas/{_schema_id(topic)}"}
    examples = [
        {part: example[key] for part, key in (("payload", "value"), ("headers", "headers")) if key in example}
        for example in topic.examples
        if "file" not in example
    ]
    if examples:
        message["examples"] = examples
    return message


def main() -> int:
    """Write the document and say whether it changed."""
    text = render()
    changed = not TARGET.exists() or TARGET.read_text(encoding="utf-8") != text
    TARGET.write_text(text, encoding="utf-8")
    print(f"{TARGET.relative_to(ROOT)}: {'regenerated' if changed else 'current'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
