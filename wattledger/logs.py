"""How every role writes its log: a line for people, or one JSON object a line where a program reads it."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Final

from schemas.errors import ConfigurationError

__all__ = ["FORMATS", "JsonLines", "begin_logging", "log_error"]

FORMATS: Final = ("text", "json")
TEXT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
DRIVERS: Final = ("urllib3", "clickhouse_connect", "uvicorn.access")
"""They log what they also raise, and we say it once; or what the metrics count."""


class JsonLines(logging.Formatter):
    """One JSON object per event and line: time (UTC), level, logger, message, trace if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        event = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            event["trace"] = self.formatException(record.exc_info)
        return json.dumps(event, ensure_ascii=False)


def begin_logging(form: str, level: int) -> None:
    """Write records of `level` and above to stderr as `form`, one of FORMATS.

    Raises ConfigurationError for any other form.
    """
    if form not in FORMATS:
        raise ConfigurationError(f"WATTLEDGER_LOG_FORMAT={form!r} is unknown: use {' or '.join(FORMATS)}")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else logging.Formatter(TEXT))
    logging.basicConfig(handlers=[handler], level=level, force=True)
    logging.captureWarnings(capture=True)
    for driver in DRIVERS:
        logging.getLogger(driver).setLevel(logging.CRITICAL)


def log_error(message: str) -> bool:
    """Log the error that ends a role, where its log is JSON; False where a plain line serves the reader better."""
    root = logging.getLogger()
    if not any(isinstance(handler.formatter, JsonLines) for handler in root.handlers):
        return False
    root.critical("%s", message)
    return True
