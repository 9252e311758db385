"""The dashboard below a path of a host, in a real browser behind a real proxy: nothing is asked for outside of it."""

import json

import pytest

from service.client import Filopodia
from service.settings import ServiceSettings
from tests.factories import make_learner, make_task
from tests.service.dashboard.browser.chromium import EXECUTABLE
from tests.service.dashboard.published import publish_task
from tests.service.http.prefix_proxy import prefix_proxy
from tests.waiting import wait_until

ROOT = "/some/where"
LINKS = """JSON.stringify([...document.links].map((link) => [
    link.pathname + link.search, link.hasAttribute("download")
]))"""


@pytest.fixture
def settings(settings: ServiceSettings) -> ServiceSettings:
    return settings.model_copy(update={"root_path": ROOT})


@pytest.fixture(params=[True, False], ids=["stripped", "passed on"])
def proxy(request, site, session, blobs):
    """A proxy before a service with a learner of two tasks, and one task that waits."""
    make_learner(session, "birds")
    publish_task(session, blobs, "birds", ("heron", "egret"), [0.9])
    publish_task(session, blobs, "birds", ("stork",), [0.8, 1.0])
    make_task(session, blobs, "birds", classes=("crane",))
    session.commit()
    with prefix_proxy(site, ROOT, strips=request.param) as proxy:
        yield proxy


@pytest.mark.browser
@pytest.mark.skipif(EXECUTABLE is None, reason="there is no Chromium on this machine")
def test_a_browser_never_leaves_the_prefix(chromium, proxy, role_keys):
    host = proxy.url.removesuffix(ROOT)
    chromium.look(width=1440)
    chromium.send("Network.clearBrowserCookies")
    chromium.open(f"{proxy.url}/")
    assert chromium.evaluate("location.pathname") == f"{ROOT}/admin/login"
    chromium.messages.clear()
    chromium.evaluate(f"document.querySelector('#key').value = '{role_keys['admin']}'")
    chromium.evaluate("document.querySelector('main form').requestSubmit()")
    chromium.wait_until(f"location.pathname === '{ROOT}/admin'")
    seen: set[str] = set()
    files: set[str] = set()
    waiting = {f"{ROOT}/admin"}
    while waiting:
        path = waiting.pop()
        seen.add(path)
        chromium.open(host + path)
        chromium.wait_until("document.readyState === 'complete'")
        if not path.startswith(f"{ROOT}/docs"):
            links = json.loads(chromium.evaluate(LINKS))
            assert all(link.startswith(ROOT) for link, _ in links)
            # What is to be saved is no page.
            waiting |= {link for link, is_file in links if not is_file} - seen
            files |= {link.removeprefix(ROOT) for link, is_file in links if is_file}
    walked = {path.split("?")[0].removeprefix(ROOT) for path in seen}
    assert walked >= {
        "/admin",
        "/admin/learners/birds",
        "/admin/learners/birds/classes",
        "/admin/learners/birds/versions/1",
        "/admin/learners/birds/teach",
        "/admin/learners/birds/try",
        "/admin/tasks",
        "/admin/keys",
        "/admin/audit",
        "/docs",
    }
    assert "/v1/learners/birds/versions/1/export?format=onnx" in files
    # A form, and back to the page it was sent from.
    chromium.open(f"{proxy.url}/admin/learners/birds")
    chromium.evaluate("document.querySelector('form[action$=\"/cancel\"]').requestSubmit()")
    chromium.wait_until("!document.querySelector('form[action$=\"/cancel\"]')")
    assert chromium.evaluate("location.pathname") == f"{ROOT}/admin/learners/birds"
    # What a script sends photos to.
    chromium.open(f"{proxy.url}/admin/learners/birds/teach")
    for address in ("[data-teach]').dataset.path", "[data-archive] form').getAttribute('action')"):
        told = chromium.evaluate(f"document.querySelector('{address}")
        assert told.startswith(f"{ROOT}/admin/learners/birds/teach")
    # The reference asks the service itself.
    chromium.open(f"{proxy.url}/docs")
    chromium.evaluate(f"document.querySelector('#key').value = '{role_keys['reader']}'")
    form = 'document.querySelector(\'form[data-method="GET"][data-path$="/v1/learners"]\')'
    chromium.evaluate(f"{form}.requestSubmit()")
    chromium.wait_until(f"{form}.querySelector('output').textContent.includes('birds')")
    # What polls, polls below the prefix.
    chromium.open(f"{proxy.url}/admin/tasks")
    chromium.wait_until("document.readyState === 'complete'")
    before = len(proxy.inside)
    wait_until(lambda: f"{ROOT}/admin/tasks.json" in proxy.inside[before:])
    assert proxy.outside == []
    assert chromium.messages == []
    assert any("/admin/static/plotly.min.js" in path for path in proxy.inside)


def test_the_client_works_below_it(proxy, role_keys):
    with Filopodia(f"{proxy.url}/", role_keys["admin"]) as client:
        assert [learner["name"] for learner in client.learners()] == ["birds"]
        (waiting,) = [task for task in client.tasks("birds") if task["status"] == "queued"]
        assert client.cancel_task(waiting["id"])["status"] == "cancelled"
        assert [event["type"] for event in client.events(waiting["id"])][-2:] == [
            "cancelled",
            "end",
        ]
        assert len(client.versions("birds")) == 2
    assert proxy.outside == []
