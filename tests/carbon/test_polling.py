"""From an API's answer to a row's rung: polled over HTTP, published to a real topic, taken up, corrected."""

import json
import os
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Producer

from producers.grid.electricity_maps import ElectricityMaps
from producers.grid.http import http_get
from producers.grid.poller import poll
from schemas.errors import RateLimited, SourceError
from schemas.side_inputs import GridIntensity
from schemas.topics import GRID
from streams.carbon.ladder import Intensities
from streams.carbon.rows import read_intensities
from streams.worker.factor_topics import factors_job, sync_factors
from streams.worker.jobs import Scope
from wattledger.__main__ import cli
from wattledger.local.broker import Broker
from wattledger.topics_admin import create_topics

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

FUTURE = "2299-12-31 23:59:59.999"
HTML = (502, {"Content-Type": "text/html"}, b"<html><body>Bad gateway</body></html>")


@dataclass
class Api:
    """A server that gives recorded answers in turn, the last one again and again, and remembers what was asked."""

    answers: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    url: str = ""

    def next(self) -> tuple[int, dict[str, str], bytes]:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@contextmanager
def serving(*answers: tuple[int, dict[str, str], bytes]) -> Iterator[Api]:
    api = Api(list(answers))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            api.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
            status, headers, body = api.next()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    api.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def hour() -> datetime:
    """The last whole hour."""
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)


def answer(
    zone: str,
    g_per_kwh: float | None,
    *,
    updated: timedelta = timedelta(minutes=70),
    at: datetime | None = None,
) -> tuple[int, dict[str, str], bytes]:
    """A recorded answer of /past-range with one hour, moved to that hour."""
    begin = at or hour()
    point = {
        "zone": zone, "carbonIntensity": g_per_kwh, "datetime": begin.isoformat(),
        "updatedAt": (begin + updated).isoformat(), "createdAt": begin.isoformat(),
        "emissionFactorType": "lifecycle", "isEstimated": False, "estimationMethod": None,
    }  # fmt: skip
    body = {"zone": zone, "data": [point], "temporalGranularity": "hourly"}
    return 200, {"Content-Type": "application/json"}, json.dumps(body).encode()


def polled(kafka: Broker, api: Api, zone: str) -> Result:
    env = {
        **os.environ,
        "WATTLEDGER_KAFKA": kafka.bootstrap,
        "ELECTRICITY_MAPS_URL": api.url,
        "ELECTRICITY_MAPS_TOKEN": "secret",
    }
    return CliRunner().invoke(
        cli, ["factors", "poll", "--source", "electricity-maps", "--zone", zone], env=env
    )


def known(client: "Client", zone: str) -> list[GridIntensity]:
    return read_intensities(client, [zone], 2**42, FUTURE)


@pytest.mark.kafka
def test_what_an_api_says_is_taken_up_and_a_later_correction_wins_whatever_comes_first(
    kafka: Broker, database: "Client"
) -> None:
    create_topics(kafka.bootstrap, partitions=4)
    zone = f"T{uuid.uuid4().hex[:8]}"
    later, late = (answer(zone, g, updated=timedelta(minutes=m)) for g, m in ((280.0, 200), (302.0, 70)))
    job = factors_job(database, kafka.bootstrap)
    others, mine = (Scope(frozenset(partitions), 1) for partitions in ({1, 2}, {0, 3}))
    with serving(late, later, late) as api:
        for expected in (302.0, 280.0, 280.0):
            assert polled(kafka, api, zone).exit_code == 0
            assert list(job.steps(others)) == [None]
            list(job.steps(mine))
            (one,) = known(database, zone)
            assert (one.g_per_kwh, one.basis, one.estimated) == (expected, "location", False)
        assert all(headers["auth-token"] == "secret" for _, headers in api.asked)
        assert all(f"zone={zone}" in path for path, _ in api.asked)
    versions = database.query(
        "SELECT count() FROM (SELECT * FROM grid_intensity FINAL) WHERE zone = {zone:String}",
        parameters={"zone": zone},
    ).result_rows
    assert versions == [(2,)], "the first figure stays on record for the statements made with it"
    again = sync_factors(database, kafka.bootstrap)
    assert [one.g_per_kwh for one in known(database, zone)] == [280.0]
    assert again.intensities >= 3, "reading all of the topic again is harmless"


@pytest.mark.kafka
def test_what_cannot_be_read_of_the_topics_is_kept_once_with_its_reason(
    kafka: Broker, database: "Client"
) -> None:
    create_topics(kafka.bootstrap, partitions=4)
    planted = uuid.uuid4().bytes
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    producer.produce(GRID, key=planted, value=b"grams " + planted)
    assert producer.flush(20) == 0
    for _ in range(2):
        assert sync_factors(database, kafka.bootstrap).refused >= 1
    kept = database.query(
        "SELECT reason, detail FROM dead_letters FINAL "
        "WHERE topic = {topic:String} AND endsWith(payload, unhex({id:String}))",
        parameters={"topic": GRID, "id": planted.hex()},
    ).result_rows
    assert len(kept) == 1
    assert kept[0][0] in {"invalid", "malformed"}
    assert kept[0][1]


@pytest.mark.kafka
def test_a_source_that_fails_publishes_nothing_and_the_ladder_says_so(
    kafka: Broker, database: "Client"
) -> None:
    create_topics(kafka.bootstrap, partitions=4)
    zone = f"T{uuid.uuid4().hex[:8]}"
    before = hour() - timedelta(hours=1)
    now_ns = round((hour() + timedelta(minutes=90)).timestamp()) * 10**9
    failures = [
        (429, {"Retry-After": "7"}, b""),
        (500, {}, b'{"error": "internal"}'),
        HTML,
        (200, {"Content-Type": "text/html"}, HTML[2]),
        answer(zone, None),
        answer(zone, 2000.5),
        (200, {}, b'{"error": "Zone does not exist."}'),
    ]
    with serving(answer(zone, 310.0, at=before), *failures) as api:
        assert polled(kafka, api, zone).exit_code == 0
        for _ in failures:
            assert polled(kafka, api, zone).exit_code == 1
    sync_factors(database, kafka.bootstrap)
    rungs = {
        hours: Intensities(known(database, zone)).at(zone, "location", now_ns - round(hours * 3600) * 10**9)
        for hours in (2.0, 0.6, 0.0, 100.0)
    }
    assert [rung.name for rung in rungs.values()] == ["live", "recent", "recent", "none"]
    assert rungs[0.0].intensity is not None
    assert rungs[0.0].intensity.g_per_kwh == 310.0
    assert rungs[100.0].intensity is None, "never a zero"


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        ("7", 7.0, 7.0),
        ("0", 1.0, 1.0),
        ("86400", 3600.0, 3600.0),
        ("in ten minutes", 500.0, 601.0),
        ("soon", 60.0, 60.0),
        (None, 60.0, 60.0),
    ],
)
def test_a_rate_limit_is_waited_for_as_long_as_it_says(header: str | None, least: float, most: float) -> None:
    if header == "in ten minutes":
        header = format_datetime(datetime.now(UTC) + timedelta(minutes=10), usegmt=True)
    headers = {} if header is None else {"Retry-After": header}
    with serving((429, headers, b"slow down")) as api:
        source = ElectricityMaps("secret", http_get, base=api.url)
        published: list[Any] = []
        done = poll(source, ["DE", "FR"], published.extend, from_ns=0, to_ns=10**18, now_ns=10**18)
        assert least <= done.wait_s <= most
        assert published == []
        assert len(api.asked) == 1, "who is limited asks for no further zone"
        with pytest.raises(RateLimited, match="429"):
            source.intensities("DE", 0, 10**18, 10**18)


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [(500, b'{"error": "internal"}', "500"), (401, b"", "401"), (502, HTML[2], "Bad gateway")],
)
def test_an_error_names_address_status_and_beginning_and_never_the_query(
    status: int, body: bytes, said: str
) -> None:
    with serving((status, {}, body)) as api:
        with pytest.raises(SourceError, match=said) as failed:
            http_get(f"{api.url}/v3/x?token=secret", {})
        assert "secret" not in str(failed.value)


def test_a_token_travels_in_the_clear_on_this_machine_only() -> None:
    with pytest.raises(SourceError, match="only https"):
        http_get("http://api.example.org/v3", {"auth-token": "secret"})


def test_an_address_that_does_not_answer_is_named() -> None:
    with serving(HTML) as api:
        pass
    with pytest.raises(SourceError, match="no answer"):
        http_get(f"{api.url}/v3", {})
