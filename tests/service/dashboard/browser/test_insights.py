"""Suspected labels in a real browser: found, moved with one press, and readable on a phone."""

import httpx
import pytest

from registry import corrections, tasks
from tests.factories import make_image
from tests.service.api import image_files
from tests.service.dashboard.browser.chromium import EXECUTABLE
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(EXECUTABLE is None, reason="there is no Chromium on this machine"),
]

CLASS = "/admin/learners/birds/classes/heron"
ALL = "/admin/learners/birds/suspects"
IS_READY = "document.readyState === 'complete'"


@pytest.fixture
def page(chromium, site, role_keys, learn):
    """A browser that has logged in as a trainer, where an egret was taught as a heron."""
    wrong = ("images", ("heron/wrong.png", make_image("egret", 77), "image/png"))
    twice = ("images", ("heron/twice.png", make_image("heron", 0, size=33), "image/png"))
    files = [*image_files(("heron", "egret"), 8), wrong, twice]
    key = {"Authorization": f"Bearer {role_keys['admin']}"}
    with httpx.Client(base_url=site, headers=key) as client:
        body = {"name": "birds", "strategy": "artsy", "backbone": "tiny"}
        client.post("/v1/learners", json=body)
        learn(client.post("/v1/learners/birds/tasks", files=files).json()["id"])
        wait_until(lambda: client.get("/v1/learners/birds/insights").json()["ready"])
    chromium.look(width=1440)
    chromium.send("Network.clearBrowserCookies")
    chromium.open(f"{site}{ALL}")
    chromium.evaluate(f"document.querySelector('#key').value = '{role_keys['trainer']}'")
    chromium.messages.clear()
    chromium.evaluate("document.querySelector('main form').requestSubmit()")
    chromium.wait_until(f"location.pathname === '{ALL}' && {IS_READY}")
    return chromium


def test_one_press_by_keyboard_moves_a_suspect(page, session, learn):
    assert "looks like egret" in page.evaluate("document.querySelector('.insight').innerText")
    page.evaluate("document.querySelector('.insight-acts button').focus()")
    for kind in ("keyDown", "keyUp"):
        text = {"text": "\r"} if kind == "keyDown" else {}
        enter = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13}
        page.send("Input.dispatchKeyEvent", type=kind, **enter, **text)
    page.wait_until(f"location.pathname === '{CLASS}' && {IS_READY}")
    text = page.evaluate("document.querySelector('main').innerText")
    assert "Moving 1 image to egret" in text
    session.rollback()
    [task] = tasks.list_tasks(session, mode=corrections.MODE).items
    learn(task.id)
    page.wait_until(
        "document.querySelector('main').innerText.includes('1 image was moved to egret')"
    )
    assert page.messages == []


@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("dark", [False, True])
def test_the_page_of_a_class_fits_any_screen(page, site, width, dark):
    page.look(width=width, dark=dark)
    page.open(f"{site}{CLASS}")
    page.wait_until(IS_READY)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    headings = page.evaluate("[...document.querySelectorAll('h3')].map((h) => h.textContent)")
    assert headings == [
        "Suspected wrong labels",
        "Pull others wrong",
        "Look-alikes",
        "Near-duplicates",
    ]
    assert page.messages == []
