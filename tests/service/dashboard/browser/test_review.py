"""Review in a real browser: what looks alike is named at once, by mouse, by keys alone, and without scripts."""

import json
import sys

import httpx
import pytest

from tests.factories import keep_images, make_learner
from tests.service.api import predict
from tests.service.dashboard.browser.chromium import EXECUTABLE
from tests.service.dashboard.browser.kinds import KINDS, draw
from tests.service.dashboard.published import publish_task
from tests.waiting import PACE, wait_until

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(EXECUTABLE is None, reason="there is no Chromium on this machine"),
]
TAUGHT, UNKNOWN = KINDS[:4], KINDS[4:]
EACH = 10
REVIEW = "/admin/learners/things/review"
MOST_ACTIONS = 60
"""To name 200 images of 20 classes; an action is a key that moves or chooses, a word, or Enter."""


@pytest.fixture
def client(site, role_keys):
    """Asks the service that the browser looks at."""
    headers = {"Authorization": f"Bearer {role_keys['admin']}"}
    with httpx.Client(
        base_url=site, headers=headers, trust_env=False, timeout=PACE.scaled(60)
    ) as client:
        yield client


def upload(client, kinds, n):
    files = [
        ("images", (f"{kind}/{i}.png", draw(kind, 100 + i), "image/png"))
        for kind in kinds
        for i in range(n)
    ]
    return client.post("/v1/learners/things/tasks", files=files)


@pytest.fixture
def things(client, learn):
    """A learner that knows four kinds of drawings."""
    body = {"name": "things", "strategy": "artsy", "backbone": "bundled"}
    assert client.post("/v1/learners", json=body).status_code == 201
    learn(upload(client, TAUGHT, 8).json()["id"])
    wait_until(lambda: client.get("/v1/learners/things").json()["live_version"] == 1)


def ask(client, kinds, n):
    for kind in kinds:
        predict(client, *(draw(kind, i) for i in range(n)), learner="things", store=True)


def log_in(chromium, site, key, path=REVIEW):
    chromium.send("Network.clearBrowserCookies")
    chromium.open(f"{site}{path}")
    chromium.evaluate(f"document.querySelector('#key').value = '{key}'")
    chromium.evaluate("document.querySelector('main form').requestSubmit()")
    chromium.wait_until(f"location.pathname === '{path}'")
    chromium.wait_until("document.readyState === 'complete'")
    chromium.messages.clear()


@pytest.fixture
def page(chromium, site, role_keys, session, blobs):
    """A browser before the review of a learner with five images between two classes and a cluster of three."""
    learner = make_learner(session, "things")
    publish_task(session, blobs, "things", ("heron", "egret"), [0.9])
    keep_images(session, blobs, learner, ("heron", "egret", "stork", "crane", "ibis"))
    vectors = [[1, 0], [1, 0.01], [1, 0.02]]
    labels = ("owl", "wren", "teal")
    keep_images(session, blobs, learner, labels, known=False, novelty=0.99, features=vectors)
    session.commit()
    chromium.look(width=1440)
    log_in(chromium, site, role_keys["trainer"])
    yield chromium
    chromium.send("Emulation.setScriptExecutionDisabled", value=False)


def press(page, key, *, text=None, modifiers=0):
    code = {"key": key, "modifiers": modifiers}
    code |= {"text": text} if text else {}
    named = {"Enter": (13, "\r"), "Tab": (9, None), " ": (32, " "), "Delete": (46, None)}
    arrows = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}
    if key in named:
        code["windowsVirtualKeyCode"], written = named[key]
        code |= {"text": written} if written else {}
    elif key in arrows:
        code["windowsVirtualKeyCode"] = arrows[key]
    page.send("Input.dispatchKeyEvent", type="keyDown", **code)
    code.pop("text", None)
    page.send("Input.dispatchKeyEvent", type="keyUp", **code)


def write(page, word):
    """Write a word as a person does: its first letter finds the field by itself."""
    for letter in word:
        press(page, letter, text=letter)


def cards(page):
    """Return how many images each card has, with why it is shown."""
    found = page.evaluate(
        "JSON.stringify([...document.querySelectorAll('[data-card]')].map((card) =>"
        " [Number(card.dataset.images), card.querySelector('.review-why').textContent]))"
    )
    return json.loads(found)


def settled(page, text):
    page.wait_until(
        f"document.querySelector('.review-done')?.textContent.includes({json.dumps(text)})"
        " && !document.querySelector('#review').hasAttribute('aria-busy')"
    )


def test_200_unknown_images_of_20_classes_are_named_with_few_actions(
    chromium, site, role_keys, client, things, capsys
):
    ask(client, UNKNOWN, EACH)
    kind_of = {}
    for item in client.get("/v1/learners/things/predictions?limit=200").json()["items"]:
        kind_of[item["id"]] = None
    # Predictions of one kind were asked together, newest last.
    for prediction_id, kind in zip(reversed(list(kind_of)), UNKNOWN, strict=True):
        kind_of[prediction_id] = kind
    chromium.look(width=1440)
    log_in(chromium, site, role_keys["trainer"], REVIEW)
    actions = named = 0
    n_waiting = sum(n for n, _ in cards(chromium))
    assert n_waiting >= 0.95 * EACH * len(UNKNOWN), "most of them look like nothing it knows"
    while cards(chromium):
        value = chromium.evaluate("document.querySelectorAll('[data-card] input')[0].value")
        kind = kind_of[value.split(".")[0]]
        press(chromium, "Home")
        write(chromium, kind.split()[0])
        write_rest(chromium, kind)
        press(chromium, "Enter")
        actions += 2  # a word, and Enter: the keys stand on the first card
        before = named
        n = len(value.split())
        settled(chromium, f"{n} image")
        named = before + n
        assert actions <= MOST_ACTIONS
    right = sum(
        kind_of[said["prediction"]] == said["label"]
        for said in client.get("/v1/learners/things/feedback?pending=true&limit=200").json()[
            "items"
        ]
    )
    with capsys.disabled():
        sys.stdout.write(f"\n{named} images named with {actions} actions, {right} rightly\n")
    assert right >= 0.98 * named
    assert chromium.messages == []


def write_rest(page, kind):
    write(page, " " + kind.split()[1])


def test_by_keys_alone(page, client):
    before = cards(page)
    # Move, choose two, and name them; the class is a new one.
    press(page, "ArrowRight")
    press(page, "ArrowRight", modifiers=8)
    chosen = page.evaluate("document.querySelectorAll('[data-card] input:checked').length")
    assert chosen == 2
    write(page, "thing")
    assert page.evaluate("document.querySelector('[data-hint]').textContent") == "new class"
    press(page, "Enter")
    settled(page, "named")
    n_named = len(client.get("/v1/learners/things/feedback?pending=true").json()["items"])
    assert n_named == 4, "the first card stands for three"
    # A word that was said is completed by Tab.
    write(page, "thi")
    press(page, "Tab")
    assert page.evaluate("document.querySelector('#label').value") == "thing"
    press(page, "Escape")
    # A number names it as a class on its card; Ctrl+Z takes that back.
    wanted = page.evaluate("document.querySelector('[data-card] [data-as]').dataset.as")
    press(page, "1", text="1")
    settled(page, "named")
    said = client.get("/v1/learners/things/feedback?pending=true").json()["items"]
    assert wanted in {item["label"] for item in said}
    press(page, "z", modifiers=2)
    settled(page, "back in the grid")
    # Enter confirms, Delete discards.
    press(page, "Enter")
    settled(page, "confirmed")
    press(page, "Delete")
    settled(page, "discarded")
    assert len(cards(page)) < len(before)
    assert page.messages == []


def test_by_mouse(page, client):
    n = len(cards(page))
    assert n == 6
    page.evaluate("document.querySelectorAll('[data-card] .review-pictures')[0].click()")
    page.evaluate(
        "document.querySelectorAll('[data-card] input')[2].dispatchEvent("
        "new MouseEvent('click', {bubbles: true, shiftKey: true}))"
    )
    assert page.evaluate("document.querySelectorAll('[data-card] input:checked').length") == 3
    assert "chosen" in page.evaluate("document.querySelector('[data-chosen]').textContent")
    page.evaluate("document.querySelector('#label').value = 'gadget'")
    page.evaluate("document.querySelector('button[name=act][value=name]').click()")
    settled(page, "named")
    assert len(cards(page)) == n - 3
    page.evaluate("document.querySelector('[data-undo] button').click()")
    settled(page, "back in the grid")
    assert len(cards(page)) == n
    assert page.messages == []


def test_what_was_said_is_learned_by_one_button(page, client):
    write(page, "gizmo")
    press(page, "Enter")
    settled(page, "named")
    page.evaluate("document.querySelector('form[action$=\"/review/learn\"]').requestSubmit()")
    page.wait_until("location.pathname === '/admin/learners/things'")
    [task, _] = client.get("/v1/learners/things/tasks").json()["items"]
    assert task["classes"] == ["gizmo"]
    assert task["from_feedback"] == 3


def test_without_scripts(page, client):
    page.send("Emulation.setScriptExecutionDisabled", value=True)
    page.send("Page.reload")
    page.wait_until("document.readyState === 'complete'")
    n = len(cards(page))
    # The browser's own form: what it sends is what a click would.
    page.evaluate("document.querySelector('[data-card] input').checked = true")
    page.evaluate("document.querySelector('#label').value = 'gadget'")
    page.evaluate("document.querySelector('button[name=act][value=name]').click()")
    page.wait_until("document.querySelector('.review-done') !== null")
    assert len(cards(page)) == n - 1
    page.evaluate("document.querySelector('[data-undo] button').click()")
    page.wait_until("document.querySelector('.review-done')?.textContent.includes('back')")
    assert len(cards(page)) == n


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_its_window(page, site, width, dark):
    page.look(width=width, dark=dark)
    for path in (REVIEW, f"{REVIEW}?show=all", f"{REVIEW}?label=nothing", f"{REVIEW}?min_score=1"):
        page.open(f"{site}{path}")
        page.wait_until("document.readyState === 'complete'")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
    assert page.messages == []
