"""The pages in a real browser: nothing is blocked by our policy, the figures are drawn, forms work."""

import time

import httpx
import pytest

from service.assets import plotly_style_id
from service.http.security import COOKIE
from tests.factories import make_learner, make_task
from tests.service.dashboard.browser.chromium import EXECUTABLE
from tests.service.dashboard.published import publish_task

PAYLOAD = "<img src=x onerror=\"document.title='hacked'\">"

PAGES = (
    "/admin",
    "/admin/new-learner",
    "/admin/learners/birds",
    "/admin/learners/birds/teach",
    "/admin/learners/birds/classes",
    "/admin/learners/birds/classes/heron",
    "/admin/learners/birds/versions/1",
    "/admin/learners/birds/try",
    "/admin/learners/birds/jobs",
    "/admin/learners/birds/review",
    "/admin/tasks",
    "/admin/notifications",
    "/admin/keys",
    "/admin/audit",
)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(EXECUTABLE is None, reason="there is no Chromium on this machine"),
]


@pytest.fixture
def page(chromium, site, role_keys, session, blobs):
    """A browser that has logged in by the form, before a learner with two tasks and one that waits."""
    make_learner(session, "birds")
    publish_task(session, blobs, "birds", ("heron", PAYLOAD), [0.9])
    publish_task(session, blobs, "birds", ("stork",), [0.8, 1.0])
    make_task(session, blobs, "birds", classes=("crane",))
    session.commit()
    chromium.look(width=1440)
    chromium.send("Network.clearBrowserCookies")
    chromium.open(f"{site}/admin/learners/birds")
    assert chromium.evaluate("location.pathname") == "/admin/login"
    chromium.messages.clear()
    chromium.evaluate(f"document.querySelector('#key').value = '{role_keys['admin']}'")
    chromium.evaluate("document.querySelector('main form').requestSubmit()")
    chromium.wait_until("location.pathname === '/admin/learners/birds'")
    chromium.wait_until("document.readyState === 'complete'")
    return chromium


def test_the_login_leads_to_the_page_that_was_asked_for(page):
    assert page.evaluate("document.querySelector('h1').textContent") == "birds"
    assert COOKIE not in page.evaluate("document.cookie")


def test_both_figures_are_drawn(page):
    page.wait_until("document.querySelectorAll('.js-plotly-plot .main-svg').length > 0")
    assert page.evaluate("document.querySelectorAll('#lines .scatterlayer .trace').length") == 5
    assert page.evaluate("document.querySelectorAll('#matrix .heatmaplayer image').length") == 1


def test_the_policy_blocks_nothing_the_pages_do(page, site):
    for path in PAGES:
        page.open(f"{site}{path}")
        page.wait_until("document.readyState === 'complete'")
        time.sleep(0.3)
    assert page.messages == []


def test_a_label_is_shown_and_never_run(page):
    assert page.evaluate("document.title") == "birds · Filopodia"
    assert page.evaluate("document.body.textContent.includes('<img src=x')")


def test_the_map_library_of_plotly_is_kept_from_inline_styles(page):
    assert page.evaluate(f"document.getElementById('{plotly_style_id()}').tagName") == "META"


@pytest.mark.parametrize("width", [390, 1440])
def test_no_page_is_wider_than_its_window(page, site, width):
    page.look(width=width)
    for path in PAGES:
        page.open(f"{site}{path}")
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, path
        assert page.evaluate("window.innerWidth") == width, path


def test_a_task_is_cancelled_by_its_button(page):
    page.evaluate("document.querySelector('form[action$=\"/cancel\"]').requestSubmit()")
    page.wait_until("document.querySelector('.pill-cancelled') !== null")
    assert page.evaluate("location.pathname") == "/admin/learners/birds"


def test_logging_out_leads_to_the_login_page(page):
    page.evaluate("document.querySelector('form[action=\"/admin/logout\"]').requestSubmit()")
    page.wait_until("location.pathname === '/admin/login'")


def test_a_login_link_lets_the_browser_in_and_leaves_no_token_behind(page, site, role_keys):
    page.send("Network.clearBrowserCookies")
    headers = {"Authorization": f"Bearer {role_keys['admin']}"}
    created = httpx.post(f"{site}/v1/login-links", headers=headers, trust_env=False)
    page.messages.clear()
    page.open(f"{site}{created.json()['path']}")
    page.wait_until("location.pathname === '/admin'")
    page.wait_until("document.readyState === 'complete'")
    assert page.evaluate("document.querySelector('h1').textContent") == "Learners"
    history = page.send("Page.getNavigationHistory")["entries"]
    token = created.json()["path"].partition("token=")[2]
    assert not any(token in entry["url"] for entry in history)
    assert page.messages == []
