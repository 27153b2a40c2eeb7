"""Whether Docker can serve is asked of the engine, quickly and without noise."""

import socket
import threading
from pathlib import Path

from wattledger.local.containers import docker_answers


def engine(path: Path, answer: bytes) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()
    return listener


def test_an_engine_that_answers_is_found(tmp_path: Path) -> None:
    with engine(tmp_path / "docker.sock", b"HTTP/1.0 200 OK\r\n\r\nOK"):
        assert docker_answers({"DOCKER_HOST": f"unix://{tmp_path}/docker.sock"})


def test_an_engine_that_refuses_is_none(tmp_path: Path) -> None:
    with engine(tmp_path / "docker.sock", b"HTTP/1.0 500 Internal Server Error\r\n\r\n"):
        assert not docker_answers({"DOCKER_HOST": f"unix://{tmp_path}/docker.sock"})


def test_a_client_without_an_engine_is_none(tmp_path: Path) -> None:
    assert not docker_answers({"DOCKER_HOST": f"unix://{tmp_path}/absent.sock"})
    assert not docker_answers({"DOCKER_HOST": "tcp://127.0.0.1:1"})
    assert not docker_answers({"DOCKER_HOST": "ssh://somewhere"})
