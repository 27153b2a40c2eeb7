"""The engines' door: what an engine sent before it ended is read, also where it does not wait for our answer."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from producers import wire
from producers.agent.intake import Connection, Intake


@pytest.fixture
def heard() -> list[bytes]:
    return []


@pytest.fixture
def gone() -> list[Connection]:
    return []


@pytest.fixture
def intake(tmp_path: Path, heard: list[bytes], gone: list[Connection]) -> Iterator[Intake]:
    subject = Intake(
        tmp_path / "agent.sock",
        mode=0o600,
        gid=-1,
        uids=frozenset({os.getuid()}),
        on_message=lambda _, kind, body: heard.append(body),
        on_gone=gone.append,
    )
    yield subject
    subject.close()


def serve(intake: Intake) -> None:
    while intake.serve():
        pass


def frame(number: int) -> bytes:
    return wire.frame_message(wire.Frame(number, 0, b"payload"))


@pytest.mark.parametrize("unread", [False, True], ids=["plain", "with an answer unread"])
def test_frames_sent_just_before_an_engine_ends_are_read_although_it_takes_no_answer(
    intake: Intake, tmp_path: Path, heard: list[bytes], gone: list[Connection], unread: bool
) -> None:
    engine = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    engine.connect(str(tmp_path / "agent.sock"))
    engine.sendall(frame(0))
    serve(intake)
    (connection,) = intake.connections
    if unread:
        intake.send(connection, wire.ack(0))
    engine.sendall(frame(1))
    engine.close()
    # The acknowledgement of frame 0 finds nobody, and frame 1 is not read yet.
    intake.send(connection, wire.ack(1))
    serve(intake)
    assert [wire.read_frame(body).sequence for body in heard] == [0, 1]
    assert gone == [connection]
    assert intake.connections == []
