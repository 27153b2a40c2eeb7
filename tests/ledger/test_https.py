"""A ClickHouse behind HTTPS: reached with its authority's certificate, refused without."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from schemas.errors import DatabaseUnavailable
from streams.ledger.client import connect
from tests.rig.certificates import Certificates, make_certificates
from wattledger.local.clickhouse_front import Front
from wattledger.settings import load


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return make_certificates(tmp_path)


@pytest.fixture
def https(front: Front, certificates: Certificates) -> Iterator[str]:
    """An address at which the front answers with TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server_certificate, certificates.server_key)
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def forward(source: socket.socket, sink: socket.socket) -> None:
            with suppress(OSError):
                while data := source.recv(65536):
                    sink.sendall(data)
            with suppress(OSError):
                sink.shutdown(socket.SHUT_WR)

        def serve() -> None:
            while True:
                try:
                    plain, _ = listener.accept()
                except OSError:
                    return
                try:
                    outside = context.wrap_socket(plain, server_side=True)
                except OSError:
                    plain.close()
                    continue
                inside = socket.create_connection(("127.0.0.1", front.port))
                both = [
                    threading.Thread(target=forward, args=pair, daemon=True)
                    for pair in ((outside, inside), (inside, outside))
                ]
                for thread in both:
                    thread.start()
                for thread in both:
                    thread.join()
                outside.close()
                inside.close()

        server = threading.Thread(target=serve, daemon=True)
        server.start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}/default"


def test_the_settings_reach_it_with_user_and_authority(
    https: str, certificates: Certificates, tmp_path: Path
) -> None:
    found = load(
        {
            "WATTLEDGER_CLICKHOUSE": https,
            "WATTLEDGER_CLICKHOUSE_USERNAME": "writer",
            "WATTLEDGER_CLICKHOUSE_PASSWORD": "p@ss/?",
            "WATTLEDGER_CLICKHOUSE_CA": str(certificates.ca),
        },
        directory=tmp_path,
    )
    client = connect(found.clickhouse)
    assert client.command("SELECT 1 + 1") == 2
    client.close()


def test_a_server_whose_certificate_nobody_known_signed_is_refused(https: str) -> None:
    with pytest.raises(DatabaseUnavailable, match=r"(?i)certificate"):
        connect(https)
