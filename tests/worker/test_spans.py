"""Traces of flushes: one span each, with what it wrote inside; without OpenTelemetry, none."""

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from schemas.errors import ConfigurationError
from schemas.topics import ITERATIONS
from streams.pipeline import DeadLetter, Message, Work
from streams.side_inputs import SideInputs
from streams.split import SplitRules
from streams.worker.durable import Durable
from streams.worker.metrics import WorkerMetrics
from streams.worker.spans import OpenSpan, no_span, otlp_spans, spans_of

LETTER = DeadLetter(Message(ITERATIONS, 0, 0, 1, b"k", b"v"), "malformed", "d")


def flush(span: OpenSpan, write: Callable[..., None]) -> bool:
    """One flush of a dead letter and no window."""
    epochs: Any = SimpleNamespace(in_order=lambda windows: iter([list(windows)] if windows else []))
    sink: Any = SimpleNamespace(write=write)
    durable = Durable(
        sink, SideInputs(), SplitRules(), epochs, WorkerMetrics.create(), lambda letters: None,
        ThreadPoolExecutor(1), lambda: None, span,
    )  # fmt: skip
    return durable.write(Work((), (LETTER,), (), (), ((ITERATIONS, 0, 0),)))


def test_a_flush_is_a_span_with_what_it_writes_inside() -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    assert flush(spans_of(provider), lambda tables, manifest: None)
    record, whole = exporter.get_finished_spans()
    assert (record.name, whole.name) == ("record", "flush")
    assert whole.attributes == {"wattledger.windows": 0, "wattledger.dead_letters": 1}
    assert record.parent is not None
    assert whole.context is not None
    assert record.parent.span_id == whole.context.span_id


def test_an_error_stands_on_the_span_it_left() -> None:
    def broken(tables: object, manifest: object) -> None:
        raise TypeError("a table that is none")

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with pytest.raises(TypeError):
        flush(spans_of(provider), broken)
    assert [span.status.is_ok for span in exporter.get_finished_spans()] == [False, False]


def test_without_tracing_a_flush_is_the_same() -> None:
    assert flush(no_span, lambda tables, manifest: None)


def test_traces_without_the_library_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(ConfigurationError, match=r"wattledger\[otel\]"):
        otlp_spans()
