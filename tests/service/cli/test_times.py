from datetime import UTC, datetime, timedelta

import pytest
import typer

from service.cli.times import moment, span


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("90m", timedelta(minutes=90)),
        ("2h", timedelta(hours=2)),
        ("30d", timedelta(days=30)),
        ("8w", timedelta(weeks=8)),
    ],
)
def test_a_span_before_now(text, length):
    assert span(text) == length
    assert abs(datetime.now(UTC) - length - moment(text)) < timedelta(minutes=1)


def test_a_date_is_by_the_clock_of_this_machine():
    assert moment("2026-03-01") == datetime(2026, 3, 1).astimezone()
    assert moment("2026-03-01T14:30") == datetime(2026, 3, 1, 14, 30).astimezone()


def test_a_time_with_a_zone_is_what_it_says():
    assert moment("2026-03-01T14:30+02:00") == datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
    assert moment("2026-03-01T14:30Z") == datetime(2026, 3, 1, 14, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "2", "0h", "h", "2y", "-2h", "2 h", "2026-13-01", "99999999d", "0001-01-01"],
)
def test_anything_else_is_refused(text):
    with pytest.raises(typer.BadParameter):
        moment(text)
