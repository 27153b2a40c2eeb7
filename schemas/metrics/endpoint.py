"""The HTTP endpoint of a role: /metrics for Prometheus, /live and /ready for what keeps it running.

/live    503 where only a restart can help
/ready   503 until there is work that it does
"""

import threading
from collections.abc import Callable
from http.server import ThreadingHTTPServer

from prometheus_client import CollectorRegistry, MetricsHandler

__all__ = ["Probe", "serve_endpoint"]

Probe = Callable[[], str | None]
"""None where all is well, else what is wrong, in a line; called on the endpoint's threads, and never waits."""


def serve_endpoint(
    port: int, registry: CollectorRegistry, *, live: Probe, ready: Probe, host: str = ""
) -> ThreadingHTTPServer:
    """Serve on `port` (0 for any) of `host` (empty for every address), from a thread that ends with the process.

    Raises OSError where the port is taken.
    """
    probes = {"/live": live, "/ready": ready}

    class Handler(MetricsHandler):
        """Prometheus's own, and the probes."""

        def do_GET(self) -> None:  # noqa: N802 - the standard library's name
            """Answer a probe, or the metrics."""
            probe = probes.get(self.path.partition("?")[0])
            if probe is None:
                super().do_GET()
                return
            wrong = probe()
            body = f"{wrong or 'ok'}\n".encode()
            self.send_response(200 if wrong is None else 503)
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    Handler.registry = registry
    server = ThreadingHTTPServer((host, port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="endpoint", daemon=True).start()
    return server
