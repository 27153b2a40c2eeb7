"""Keeps the service listening until it is told to stop, and then ends it in order."""

import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import uvicorn
from prometheus_client import start_http_server

from schemas.errors import ConfigurationError
from schemas.metrics.instruments import new_registry
from streams.answers.api import create_api
from streams.answers.metrics import ApiMetrics
from streams.answers.service import ServiceRules
from streams.answers.signing import load_keyring, new_key
from streams.ledger.client import connect
from streams.ledger.migrations import require_current

__all__ = ["serve"]

BACKLOG = 128


def serve(
    dsn: str,
    host: str,
    port: int,
    *,
    keys: Path,
    rules: ServiceRules | None = None,
    metrics_port: int = 0,
    announce: Callable[[str], None] = lambda _: None,
) -> None:
    """Serve the ledger at `dsn` until SIGINT or SIGTERM; makes a signing key in `keys` if there is none.

    port: 0 takes a free one. metrics_port: Prometheus endpoint, apart from what tenants reach; 0 for none.
    announce: told the address once it is taken; calls from then on are answered.
    Raises DatabaseUnavailable, MigrationError or ConfigurationError (a port that is taken) before it listens.
    """
    client = connect(dsn)
    try:
        require_current(client)
    finally:
        client.close()
    if not any(keys.glob("*.jwk")):
        new_key(keys, datetime.now(UTC))
    ring = load_keyring(keys)
    with _listening(host, port) as listener:
        address = f"http://{host}:{listener.getsockname()[1]}"
        chosen = rules or ServiceRules()
        chosen = replace(chosen, base_url=chosen.base_url or address)
        metrics = ApiMetrics(new_registry())
        if metrics_port:
            start_http_server(metrics_port, registry=metrics.registry)
        app = create_api(dsn, ring, chosen, metrics)
        # Without a log configuration of its own, so that its lines have the form of all others.
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", log_config=None))
        announce(address)
        # The server ends in order on both signals and then raises the signal again, for its caller to see.
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            with suppress(KeyboardInterrupt):
                server.run(sockets=[listener])
        finally:
            signal.signal(signal.SIGTERM, before)


def _listening(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), backlog=BACKLOG)
    except OSError as error:
        said = error.strerror or type(error).__name__
        raise ConfigurationError(f"cannot listen on {host}:{port} ({said}): choose another port") from None
