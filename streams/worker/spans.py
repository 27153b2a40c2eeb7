"""Traces of what a worker does, where somebody asked for them: OpenTelemetry, or nothing at all.

Where spans go is OpenTelemetry's own affair: OTEL_EXPORTER_OTLP_ENDPOINT and its siblings.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

__all__ = ["OpenSpan", "no_span", "otlp_spans", "spans_of"]

OpenSpan = Callable[[str, dict[str, int]], AbstractContextManager[object]]
"""Opens a span, by name and attributes; an error that leaves the block is recorded on it."""


def no_span(name: str, attributes: dict[str, int]) -> AbstractContextManager[object]:
    """What a worker that nobody traces opens."""
    del name, attributes
    return nullcontext()


def spans_of(provider: "TracerProvider") -> OpenSpan:
    """Spans of `provider`, each the child of the one it is opened in."""
    tracer = provider.get_tracer("wattledger.worker")
    return lambda name, attributes: tracer.start_as_current_span(
        name, attributes={f"wattledger.{key}": value for key, value in attributes.items()}
    )


def otlp_spans() -> OpenSpan:
    """Spans to an OTLP collector over HTTP, sent in the background; one that is away costs spans and nothing else.

    Raises ConfigurationError where the extra `otel` is not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise ConfigurationError(
            f"--traces needs OpenTelemetry ({error}): install wattledger[otel]"
        ) from None
    provider = TracerProvider(resource=Resource.create({"service.name": "wattledger-worker"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return spans_of(provider)
