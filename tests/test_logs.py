"""Every role writes one line per event: for people, or as JSON for programs."""

import json
import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest

from schemas.errors import ConfigurationError
from wattledger.logs import JsonLines, begin_logging


@pytest.fixture(autouse=True)
def own_handlers() -> Iterator[None]:
    root = logging.getLogger()
    kept, level = root.handlers[:], root.level
    yield
    root.handlers[:] = kept
    root.setLevel(level)
    logging.captureWarnings(capture=False)


def test_an_event_is_one_json_line_even_with_a_trace_and_line_breaks() -> None:
    try:
        int("two\nlines")
    except ValueError:
        record = logging.LogRecord(
            "streams.worker", logging.ERROR, "file", 1, "spool of %s\nis full", ("node-07",), sys.exc_info()
        )
    line = JsonLines().format(record)
    assert "\n" not in line
    event = json.loads(line)
    assert (event["level"], event["logger"]) == ("error", "streams.worker")
    assert event["message"] == "spool of node-07\nis full"
    assert "ValueError: invalid literal" in event["trace"]
    assert event["time"].endswith("+00:00")


def test_a_form_nobody_knows_is_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match=r"WATTLEDGER_LOG_FORMAT='xml'.*text or json"):
        begin_logging("xml", logging.INFO)


def test_a_role_that_cannot_start_says_so_in_the_chosen_form() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "wattledger", "factors", "poll", "--source", "csv", "--zone", "DE"],
        env={"PATH": "", "WATTLEDGER_LOG_FORMAT": "json", "WATTLEDGER_KAFKA": "127.0.0.1:1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert "needs --file" in json.loads(done.stderr)["message"]
