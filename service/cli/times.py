"""Times and spans of time as people write them on a command line."""

import re
from datetime import UTC, datetime, timedelta

import typer

UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
LONGEST = timedelta(days=36_500)


def span(text: str) -> timedelta:
    """Return a span of time written as a number and a unit.

    Raises:
        typer.BadParameter: If it is none, or longer than a century.

    Example:
        >>> span("30d"), span("12h")
        (datetime.timedelta(days=30), datetime.timedelta(seconds=43200))
    """
    match = re.fullmatch(r"([1-9][0-9]{0,6})([mhdw])", text)
    length = timedelta(**{UNITS[match[2]]: int(match[1])}) if match else None
    if length is None or length > LONGEST:
        raise typer.BadParameter("Write a number and a unit: 90m, 12h, 30d or 8w.")
    return length


def moment(text: str) -> datetime:
    """Return the time that a date, a time or a span before now names; without a zone, by the clock of this machine.

    Raises:
        typer.BadParameter: If it is none of them.

    Example:
        >>> moment("2026-03-01T12:00:00+00:00").isoformat()
        '2026-03-01T12:00:00+00:00'
    """
    if re.fullmatch(r"[0-9]+[a-z]", text):
        return datetime.now(UTC) - span(text)
    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            "Write how long ago, as 90m, 2h or 30d, or a date, as 2026-03-01 or 2026-03-01T14:30."
        ) from None


def second(text: str | None) -> str:
    """Return a time of the service's, UTC, as tables show it: to the second.

    Example:
        >>> second("2026-03-01T12:00:00.123456Z"), second(None)
        ('2026-03-01 12:00:00', '')
    """
    return (text or "")[:19].replace("T", " ")
