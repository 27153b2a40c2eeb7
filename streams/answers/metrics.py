"""The API's metrics, as `schemas.metrics.services` declares them, and the middleware that counts."""

import time
from collections.abc import Awaitable, Callable
from typing import Final

from fastapi import Request, Response
from prometheus_client import CollectorRegistry

from schemas.metrics.instruments import counter, histogram

__all__ = ["ApiMetrics"]

NO_ROUTE: Final = "none"
"""A path that is nobody's: one label for all of them, for callers choose them."""


class ApiMetrics:
    """One service's instruments."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.requests = counter("wattledger_api_requests_total", registry)
        self.answer_seconds = histogram("wattledger_api_answer_seconds", registry)

    async def measured(self, request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
        """Answer `request` and count it under its route as declared; one that raises counts as 500."""
        begin_s = time.perf_counter()
        status = 500
        try:
            response = await answer(request)
            status = response.status_code
            return response
        finally:
            route = getattr(request.scope.get("route"), "path", NO_ROUTE)
            self.requests.labels(route, status).inc()
            self.answer_seconds.labels(route).observe(time.perf_counter() - begin_s)
