"""Points in time as command-line options: ISO 8601, UTC where no offset is given."""

from datetime import UTC, datetime

import click

__all__ = ["INSTANT"]


class _Instant(click.ParamType):
    """An aware datetime."""

    name = "time"

    def convert(
        self, value: str | datetime, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """Parse; UTC where it names no zone."""
        if isinstance(value, datetime):
            return value
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no time: write it like 2026-09-01 or 2026-09-01T12:00Z", param, ctx)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


INSTANT = _Instant()
