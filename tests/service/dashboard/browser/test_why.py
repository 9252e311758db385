"""Why an answer, and what is confused, in a real browser: fit to look at, and walked through by keyboard."""

from urllib.parse import urlencode

import httpx
import pytest

from tests.service.api import give, predict
from tests.service.dashboard.browser.chromium import EXECUTABLE
from tests.service.dashboard.browser.kinds import KINDS, draw
from tests.waiting import PACE, wait_until

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(EXECUTABLE is None, reason="there is no Chromium on this machine"),
]
TAUGHT = KINDS[:4]


def press(page, key):
    code, text = {"Tab": (9, {}), "Enter": (13, {"text": "\r"})}[key]
    page.send("Input.dispatchKeyEvent", type="keyDown", key=key, windowsVirtualKeyCode=code, **text)
    page.send("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)


def log_in(chromium, site, key, path):
    chromium.send("Network.clearBrowserCookies")
    chromium.open(f"{site}{path}")
    chromium.evaluate(f"document.querySelector('#key').value = '{key}'")
    chromium.evaluate("document.querySelector('main form').requestSubmit()")
    chromium.wait_until(f"location.pathname === '{path}'")
    chromium.wait_until("document.readyState === 'complete'")
    chromium.messages.clear()


@pytest.fixture
def client(site, role_keys):
    """Asks the service that the browser looks at."""
    headers = {"Authorization": f"Bearer {role_keys['admin']}"}
    with httpx.Client(
        base_url=site, headers=headers, trust_env=False, timeout=PACE.scaled(60)
    ) as client:
        yield client


@pytest.fixture
def doubted(client, learn):
    """A learner of drawings, two of which were taught as another kind, and a prediction that somebody corrected."""
    body = {"name": "things", "strategy": "artsy", "backbone": "bundled"}
    assert client.post("/v1/learners", json=body).status_code == 201
    files = [
        ("images", (f"{TAUGHT[(k + (i == 3)) % 4]}/{i}.png", draw(kind, 100 + i), "image/png"))
        for k, kind in enumerate(TAUGHT)
        for i in range(8)
        if k < 2 or i != 3
    ]
    learn(client.post("/v1/learners/things/tasks", files=files).json()["id"])
    wait_until(lambda: client.get("/v1/learners/things").json()["live_version"] == 1)
    prediction, [result] = predict(client, draw(TAUGHT[0], 7), learner="things", store=True)
    wrong = next(kind for kind in TAUGHT if kind != result["label"])
    assert give(client, prediction, wrong).status_code in (200, 201)
    pairs = client.get("/v1/learners/things/versions/1/confusion/pairs").json()["pairs"]
    pair = next(pair for pair in pairs if pair["true"] == wrong)
    confusion = "/admin/learners/things/versions/1/confusion"
    asked = urlencode({"true": pair["true"], "answered": pair["answered"]})
    return {
        "why": f"/admin/predictions/{prediction}/images/0/why",
        "confusion": confusion,
        "narrowed": f"{confusion}?{urlencode({'label': wrong})}",
        "cell": f"{confusion}/images?{asked}",
    }


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_its_window_and_shows_its_pictures(chromium, site, role_keys, doubted, width, dark):
    chromium.look(width=width, dark=dark)
    log_in(chromium, site, role_keys["predictor"], doubted["why"])
    for path in doubted.values():
        chromium.open(f"{site}{path}")
        chromium.wait_until("document.readyState === 'complete'")
        chromium.evaluate("[...document.images].forEach((image) => image.loading = 'eager')")
        chromium.wait_until("[...document.images].every((image) => image.complete)")
        assert chromium.evaluate("document.documentElement.scrollWidth") <= width, path
        broken = "[...document.images].filter((image) => !image.naturalWidth).length"
        assert chromium.evaluate(broken) == 0, path
    assert chromium.messages == []


def test_by_keyboard_from_a_pair_to_its_images_and_why(chromium, site, role_keys, doubted):
    chromium.look(width=1440)
    log_in(chromium, site, role_keys["predictor"], doubted["confusion"])
    focused = "document.activeElement.textContent.trim()"
    for _ in range(40):
        press(chromium, "Tab")
        if chromium.evaluate(focused) == "Show images":
            break
    assert chromium.evaluate(focused) == "Show images"
    press(chromium, "Enter")
    chromium.wait_until("location.pathname.endsWith('/confusion/images')")
    chromium.open(f"{site}{doubted['cell']}")
    chromium.wait_until("document.readyState === 'complete'")
    for _ in range(40):
        press(chromium, "Tab")
        if chromium.evaluate("document.activeElement.href ?? ''").endswith("/why"):
            break
    press(chromium, "Enter")
    chromium.wait_until("location.pathname.endsWith('/why')")
    assert "Somebody said that it shows" in chromium.evaluate("document.body.textContent")
    assert chromium.messages == []
