"""A real browser."""

from collections.abc import Iterator

import pytest

from tests.service.dashboard.browser.chromium import EXECUTABLE, Chromium


@pytest.fixture(scope="session")
def chromium() -> Iterator[Chromium]:
    """A real browser, which all tests share."""
    if EXECUTABLE is None:
        pytest.skip("there is no Chromium on this machine")
    with Chromium(EXECUTABLE) as browser:
        yield browser
