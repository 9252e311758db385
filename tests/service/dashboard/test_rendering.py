from datetime import UTC, datetime, timedelta

import pytest
from jinja2 import UndefinedError

from service.dashboard import rendering

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "spoken"),
    [(5, "just now"), (60, "1 min ago"), (3 * 3600 + 59, "3 h ago"), (2 * 86400, "2026-02-27")],
)
def test_ago_speaks_like_a_person(seconds, spoken):
    html = rendering.ago(NOON - timedelta(seconds=seconds), NOON)
    assert f">{spoken}<" in html
    assert 'datetime="2026-0' in html


def test_text_is_escaped_everywhere():
    html = rendering.render(
        "error.html", viewer=None, section="", title="<b>", detail="<img src=x onerror=alert(1)>"
    )
    assert "<img" not in html
    assert "&lt;img" in html


def test_a_forgotten_value_is_an_error_not_a_blank():
    with pytest.raises(UndefinedError):
        rendering.render("error.html", viewer=None, section="")


@pytest.mark.parametrize(("value", "shown"), [(None, "–"), (0.0, "0.0%"), (1.0, "100%")])  # noqa: RUF001
def test_percent(value, shown):
    assert rendering.percent(value) == shown
