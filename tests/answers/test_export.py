"""Exports carry the ledger's own sums: OTLP as its protocol has it, gauges, scores, rows as they come."""

import csv
import gzip
import io
import json
import threading
import weakref
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_CUMULATIVE, Metric
from prometheus_client.parser import text_string_to_metric_families

from schemas.errors import ConfigurationError, DataError
from streams.answers import bulk
from streams.answers.footprint import ghg_rows, sci_per_token, sci_per_workflow
from streams.answers.gauges import exposition
from streams.answers.otlp import metrics_of, send
from streams.answers.periods import Period
from streams.answers.report import make_report
from streams.answers.report_carbon import Carbon
from streams.batch import ACCOUNTS
from tests.answers.conftest import Ledger
from wattledger.commands.export import command

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

EVER = "2299-12-31 23:59:59.999"


class Receiver(ThreadingHTTPServer):
    """An OTLP/HTTP receiver that keeps what it is sent; answers with `statuses` one by one, then 200."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answering)
        self.taken: list[tuple[str, ExportMetricsServiceRequest]] = []
        self.statuses: list[int] = []

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Answering(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        assert self.headers["Content-Type"] == "application/x-protobuf"
        status = self.server.statuses.pop(0) if self.server.statuses else 200
        if status == 200:
            self.server.taken.append((self.path, ExportMetricsServiceRequest.FromString(body)))
        answer = ExportMetricsServiceResponse().SerializeToString()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def attributes(point: Any) -> dict[str, str]:
    return {one.key: one.value.string_value for one in point.attributes}


def test_otlp_carries_every_joule_by_device_account_and_tenant(ledger: Ledger, receiver: Receiver) -> None:
    send(metrics_of(ledger.client, ledger.period, "0"), endpoint=receiver.endpoint)
    path, request = receiver.taken[0]
    assert path == "/v1/metrics"
    metrics: dict[str, Metric] = {
        metric.name: metric for metric in request.resource_metrics[0].scope_metrics[0].metrics
    }
    assert {name: metric.unit for name, metric in metrics.items()} == {
        "hw.energy": "J",
        "hw.host.energy": "J",
        "wattledger.account.energy": "J",
        "wattledger.tenant.energy": "J",
        "wattledger.tenant.requests": "{request}",
        "wattledger.tenant.tokens": "{token}",
    }
    for metric in metrics.values():
        assert metric.sum.is_monotonic
        assert metric.sum.aggregation_temporality == AGGREGATION_TEMPORALITY_CUMULATIVE
        for point in metric.sum.data_points:
            assert (point.start_time_unix_nano, point.time_unix_nano) == (
                ledger.filled.start_ns,
                ledger.filled.end_ns,
            )
    metered_j = sum(batch.metered_uj for batch in ledger.filled.batches) / 1e6
    gpus = metrics["hw.energy"].sum.data_points
    assert sum(point.as_double for point in gpus) == pytest.approx(metered_j, rel=1e-12)
    assert {attributes(point)["hw.type"] for point in gpus} == {"gpu"}
    assert len({attributes(point)["hw.id"] for point in gpus}) == len(gpus)
    accounts = metrics["wattledger.account.energy"].sum.data_points
    assert sum(point.as_double for point in accounts) == pytest.approx(metered_j, rel=1e-12)
    assert {attributes(point)["wattledger.account"] for point in accounts} == set(ACCOUNTS)
    booked_j = sum(batch.account_uj("request") for batch in ledger.filled.batches) / 1e6
    tenants = metrics["wattledger.tenant.energy"].sum.data_points
    assert sum(point.as_double for point in tenants) == pytest.approx(booked_j, rel=1e-12)


def test_a_receiver_that_is_busy_is_asked_again(ledger: Ledger, receiver: Receiver) -> None:
    receiver.statuses = [503]
    send(metrics_of(ledger.client, ledger.period, "0"), endpoint=f"{receiver.endpoint}/v1/metrics")
    assert len(receiver.taken) == 1


def test_a_receiver_that_refuses_is_an_error_with_what_to_do(ledger: Ledger, receiver: Receiver) -> None:
    receiver.statuses = [400]
    with pytest.raises(ConfigurationError, match="no OTLP receiver took the metrics"):
        send(metrics_of(ledger.client, ledger.period, "0"), endpoint=receiver.endpoint)


def test_gauges_stand_beside_opencosts(ledger: Ledger) -> None:
    text = exposition(ledger.client, ledger.period).decode()
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    seconds = ledger.period.duration.total_seconds()
    usage_w = sum(value for key, value in samples.items() if key[0] == "llm_power_watts" and "usage" in key)
    booked_uj = sum(batch.account_uj("request") for batch in ledger.filled.batches)
    assert usage_w == pytest.approx(booked_uj / 1e6 / seconds)
    allocated_w = sum(
        value for key, value in samples.items() if key[0] == "llm_power_watts" and "allocation" in key
    )
    served_uj = sum(batch.metered_uj for batch in ledger.filled.batches)
    assert usage_w < allocated_w <= served_uj / 1e6 / seconds
    assert 'model_name="meta-llama/Llama-3.1-70B-Instruct"' in text
    assert 'phase="prompt"' in text
    assert 'phase="generation"' in text


def test_a_score_per_token_is_energy_times_intensity_plus_manufacturing(ledger: Ledger) -> None:
    report = make_report(ledger.client, "saffron-table", ledger.period, datetime.now(UTC))
    with pytest.raises(DataError, match="no carbon factor is on record"):
        sci_per_token(report)
    known = _with_carbon(report)
    score = sci_per_token(known)
    tokens = sum(line.prompt_tokens + line.emitted_tokens for line in report.models)
    assert score.units == tokens
    assert score.g_per_unit == pytest.approx((40.0 + 5.0) / tokens)
    row = score.row({"tenant": "saffron-table"})
    assert row["functional_unit"] == "token"
    assert row["energy_without_factor_kwh"] == pytest.approx(1e-3)


def test_a_workflow_counts_every_call_of_every_execution() -> None:
    receipts = [{"request_id": f"r{i}", "energy_wh": 2.0, "carbon_g": {"location": 0.5}} for i in range(6)]
    score = sci_per_workflow("triage", receipts, 3)
    assert score.g_per_unit == pytest.approx(1.0)
    assert score.energy_kwh == pytest.approx(0.012)
    with pytest.raises(DataError, match="has no carbon factor"):
        sci_per_workflow("triage", [{**receipts[0], "carbon_g": {"location": None}}], 1)
    with pytest.raises(DataError, match="make no score"):
        sci_per_workflow("triage", [], 1)


def test_ghg_rows_have_both_methods_and_say_what_they_cover(ledger: Ledger) -> None:
    report = make_report(ledger.client, "saffron-table", ledger.period, datetime.now(UTC))
    without = ghg_rows(report)
    assert [row["quantity"] for row in without[1:]] == [None] * 4
    assert without[0]["quantity"] == pytest.approx(report.total_uj / 3.6e15)
    assert {row["coverage"] for row in without} == {0.0}
    rows = {row["method"]: row for row in ghg_rows(_with_carbon(report)) if row["datapoint"] == "ESRS E1-6"}
    assert rows["location-based"]["quantity"] == pytest.approx(40e-6)
    assert rows["market-based"]["quantity"] == pytest.approx(30e-6)
    assert {row["scope"] for row in rows.values()} == {"3"}
    assert 0 < rows["location-based"]["coverage"] < 1


def _with_carbon(report: Any) -> Any:
    return replace(
        report,
        carbon=Carbon(
            location_g=40.0, market_g=30.0, embodied_g=5.0, water_l=2.0, without_intensity_uj=3_600_000_000,
            without_embodied_uj=0, without_water_uj=0, uj_by_rung={},
        ),
    )  # fmt: skip


@pytest.mark.parametrize("output_format", bulk.FORMATS)
def test_every_request_is_a_row_in_every_format(ledger: Ledger, output_format: str) -> None:
    out = io.BytesIO()
    rows = bulk.write_rows(out, bulk.blocks(ledger.client, ledger.period, EVER), output_format)
    found = _read(out.getvalue(), output_format)
    known = ledger.client.query(
        "SELECT request_id, toInt64(energy_uj), emitted_tokens FROM receipts ORDER BY request_id, engine_id"
    ).result_rows
    assert rows == len(found) == len(known)
    assert sorted(
        (row["request_id"], int(row["energy_uj"]), int(row["emitted_tokens"])) for row in found
    ) == sorted(known)


def _read(content: bytes, output_format: str) -> list[dict[str, Any]]:
    if output_format == "parquet":
        return list(pq.read_table(io.BytesIO(content)).to_pylist())
    if output_format == "csv":
        return list(csv.DictReader(io.StringIO(content.decode())))
    return [json.loads(line) for line in content.decode().splitlines()]


def _block(start: int, rows: int) -> pa.Table:
    text = [f"=1+{i}" for i in range(start, start + rows)]
    columns = [
        pa.array(text if field.type == pa.string() else list(range(start, start + rows)), field.type)
        for field in bulk.SCHEMA
    ]
    return pa.table(columns, schema=bulk.SCHEMA)


@pytest.mark.parametrize("output_format", bulk.FORMATS)
def test_a_block_is_written_before_the_next_is_asked_for(output_format: str) -> None:
    out, sizes = io.BytesIO(), []

    def asked() -> Iterator[pa.Table]:
        for number in range(5):
            sizes.append(out.tell())
            yield _block(number * 10_000, 10_000)

    assert bulk.write_rows(out, asked(), output_format) == 50_000
    assert sizes == sorted(sizes)
    grown = [after - before for before, after in pairwise(sizes[1:])]
    assert all(size > 0 for size in grown), sizes


def test_rows_held_at_once_do_not_grow_with_the_export(database: "Client") -> None:
    """Each block goes before the next but one comes, and none is large."""
    requests = 5 * bulk.BLOCK_ROWS
    database.command(
        "INSERT INTO batches (batch_id, group_id, start_ns, end_ns, event_time, tier) "
        "SELECT repeat('0', 32), 'g', 0, 5000000000, '2026-03-01', 3"
    )
    database.command(
        "INSERT INTO ledger (tenant, event_time, batch_id, account, engine_id, incarnation, ordinal, energy_uj) "
        "SELECT 'acme', '2026-03-01', repeat('0', 32), 'request', 'e', 'i', number, number "
        f"FROM numbers({requests})"
    )
    day = Period(datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC))
    seen: list[weakref.ref[pa.Table]] = []
    held: list[int] = []

    def watched() -> Iterator[pa.Table]:
        for block in bulk.blocks(database, day, EVER):
            seen.append(weakref.ref(block))
            held.append(sum(one.num_rows for ref in seen if (one := ref()) is not None))
            yield block

    for output_format in ("csv", "parquet"):
        assert bulk.write_rows(io.BytesIO(), watched(), output_format) == requests
    assert len(held) >= 2 * 5
    assert max(held) <= 3 * bulk.BLOCK_ROWS


def test_formulas_are_neutralised_however_many_rows() -> None:
    out = io.BytesIO()
    bulk.write_rows(out, iter([_block(0, 3)]), "csv")
    row = next(csv.DictReader(io.StringIO(out.getvalue().decode())))
    assert row["tenant"] == "'=1+0"
    assert row["energy_uj"] == "0"


def test_the_command_line_writes_files_for_others(
    ledger: Ledger, receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATTLEDGER_CLICKHOUSE", ledger.dsn)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
    run = CliRunner().invoke
    for arguments, said in (
        (["requests", "--format", "json", "--out", str(tmp_path / "all.json")], "requests"),
        (["otlp"], "points"),
        (["prometheus", "--out", str(tmp_path / "wattledger.prom")], ""),
        (["ghg", "--tenant", "saffron-table", "--out", str(tmp_path / "ghg.csv")], ""),
    ):
        result = run(command, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        assert said in result.output
    assert len(receiver.taken) == 1
    assert "llm_power_watts" in (tmp_path / "wattledger.prom").read_text()
    assert "location-based" in (tmp_path / "ghg.csv").read_text()
    with pytest.raises(DataError, match="no tenant 'nobody'"):
        run(command, ["ghg", "--tenant", "nobody"], catch_exceptions=False)
