"""From an empty installation to the first answer, by hand, in a real browser before a real service with its worker."""

import tempfile
import time
from pathlib import Path

import pytest

from service.cli.local.demo_process import ServiceProcess
from tests.acceptance.user import SETTINGS
from tests.service.dashboard.browser.chromium import EXECUTABLE
from tests.service.dashboard.browser.drawings import draw
from tests.service.dashboard.browser.person import Person
from tests.waiting import is_within

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(EXECUTABLE is None, reason="there is no Chromium on this machine"),
]
MOST_ACTIONS = 12
MOST_S = 60
READY = "document.readyState === 'complete'"


@pytest.fixture
def service():
    """A service that nobody has used yet."""
    with (
        tempfile.TemporaryDirectory(prefix="filopodia-test-") as folder,
        ServiceProcess(Path(folder) / "data", environment=SETTINGS) as service,
    ):
        yield service


def test_ten_photos_are_answered_within_a_minute_and_twelve_actions(chromium, service, tmp_path):
    for label in ("ball", "stripes"):
        draw(tmp_path / "things", label, range(5))
    (new,) = draw(tmp_path / "new", "stripes", [7])
    address = service.address()
    chromium.look(width=1440)
    person = Person(chromium)
    started = time.monotonic()
    person.log_in(address.key, f"{address.url}/admin")
    chromium.messages.clear()
    person.click("main a.primary")
    chromium.wait_until(f"location.pathname === '/admin/new-learner' && {READY}")
    person.press("Enter")
    chromium.wait_until(f"location.pathname === '/admin/learners/my-photos/teach' && {READY}")
    person.choose("[data-choose=folder]", "[data-input=folder]", [tmp_path / "things"])
    chromium.wait_until("document.querySelector('[data-learn]').textContent === 'Learn 10 photos'")
    person.click("[data-learn]:enabled")
    chromium.wait_until(f"!!document.querySelector('.answers-now') && {READY}")
    person.choose("form[data-try] .drop", "form[data-try] input", [new])
    chromium.wait_until("!!document.querySelector('.answer-label')")
    took_s = time.monotonic() - started
    assert chromium.evaluate("document.querySelector('.answer-label').textContent") == "stripes"
    assert person.actions <= MOST_ACTIONS
    assert is_within(took_s, MOST_S)
    assert chromium.messages == []
    person.leave()
