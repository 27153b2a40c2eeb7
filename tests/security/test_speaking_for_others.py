"""Who may publish for one group cannot make it speak of engines or loads elsewhere."""

import pytest

from schemas.errors import UnknownEngine, UntrustedMessage
from schemas.frames import encode_energy, encode_iterations
from schemas.side_input_codec import encode_load
from schemas.side_inputs import Load
from schemas.topics import ENERGY, ITERATIONS, LOADS
from streams.pipeline import Frontier, Message, Pipeline
from streams.side_inputs import SideInputs
from streams.windows import WindowRules
from tests.builders import ENGINE, GROUP, T0, decode_frame, descriptor, energy_frame

ELSEWHERE = "lab/node-2/engine"


def pipeline() -> Pipeline:
    side = SideInputs()
    side.add_engine(descriptor())
    side.add_engine(descriptor(ELSEWHERE, group_id=ELSEWHERE))
    return Pipeline(WindowRules(), side, Frontier())


def message(topic: str, value: bytes, offset: int = 0) -> Message:
    return Message(topic, 0, offset, T0, GROUP.encode(), value)


def test_a_frame_of_an_engine_that_is_elsewhere_is_set_aside() -> None:
    stream = pipeline()
    stray = message(ITERATIONS, encode_iterations(decode_frame(0, 0.5, engine_id=ELSEWHERE)))
    with pytest.raises(UnknownEngine, match="lab/node-1"):
        stream.receive(stray, engines_may_be_unknown=True)
    stream.receive(stray)
    (letter,) = stream.take().dead_letters
    assert letter.reason == "unknown_engine"
    assert "'lab/node-2/engine' has no descriptor with a group_id under 'lab/node-1'" in letter.detail


def test_an_engine_that_begins_to_share_a_gpu_keeps_its_place() -> None:
    stream = pipeline()
    joint = "lab/node-1/engine+other"
    frame = decode_frame(0, 0.5, engine_id=ENGINE, group_id=joint)
    stream.receive(Message(ITERATIONS, 0, 0, T0, joint.encode(), encode_iterations(frame)))
    assert not stream.take().dead_letters


def test_a_load_under_another_groups_key_is_set_aside() -> None:
    stream = pipeline()
    load = Load("l1", "model_load", ELSEWHERE, ELSEWHERE, "1-cafe", T0, T0 + 1, "m")
    stream.receive(message(LOADS, encode_load(load)))
    work = stream.take()
    assert not work.loads
    assert "is not the load's group_id 'lab/node-2/engine'" in work.dead_letters[0].detail


def test_what_is_refused_unread_is_a_dead_letter_with_its_reason_once() -> None:
    stream = pipeline()
    forged = message(ENERGY, encode_energy(energy_frame(0, 0.5)))
    for _ in range(2):
        stream.refuse(forged, UntrustedMessage("bad_signature", "not by the node"))
    work = stream.take()
    assert [(one.reason, one.message) for one in work.dead_letters] == [("bad_signature", forged)]
    assert not stream.groups
    assert stream.settle(work) == {(ENERGY, 0): 1}
