"""Every example of every past frame version is read as it was recorded: written once, readable for ever."""

import json
from pathlib import Path

import pytest

import schemas
from schemas.envelope import VERSION
from schemas.frames import decode_energy, decode_iterations
from schemas.topics import TOPICS
from tools.frame_examples import examples, meaning

ROOT = Path(schemas.__file__).parent
MESSAGES = sorted((ROOT / "examples").glob("v*/*.bin"))


@pytest.mark.parametrize("message", MESSAGES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_an_example_still_means_what_was_recorded(message: Path):
    decode = decode_iterations if message.stem.startswith("iterations") else decode_energy
    recorded = json.loads(message.with_suffix(".json").read_text(encoding="utf-8"))
    assert meaning(decode(message.read_bytes())) == recorded


def test_every_version_up_to_this_one_has_its_examples():
    assert {path.parent.name for path in MESSAGES} == {f"v{version}" for version in range(1, VERSION + 1)}


def test_every_example_the_tool_makes_is_recorded():
    assert set(examples()) <= {path.stem for path in MESSAGES if path.parent.name == f"v{VERSION}"}


def test_the_topics_refer_to_examples_that_exist():
    files = [
        example[role]
        for topic in TOPICS
        for example in topic.examples
        for role in ("file", "meaning")
        if role in example
    ]
    assert len(files) == 4
    for file in files:
        assert (ROOT.parent / file).is_file(), file
