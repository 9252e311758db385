"""The page of a class in a real browser: images chosen by mouse and keyboard, moved, removed, and put back."""

import json

import pytest

from registry import corrections, learners, tasks
from tests.factories import make_learner, make_task
from tests.service.dashboard.browser.chromium import EXECUTABLE
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(EXECUTABLE is None, reason="there is no Chromium on this machine"),
]

ODD = 'heron / "50%" <i>'
ADDRESS = "/admin/learners/birds/classes/heron%20%2F%20%2250%25%22%20%3Ci%3E"
CHOSEN = "[...document.querySelectorAll('.tiles input[name=image]')].map((box) => box.checked)"
COUNT = "document.querySelector('[data-count]').textContent"
IS_READY = "document.readyState === 'complete'"


@pytest.fixture
def page(chromium, site, role_keys, session, blobs, learn):
    """A browser that has logged in as a trainer, on the page of herons that were really learned."""
    make_learner(session, "birds", strategy="artsy", config={"bottleneck": 4})
    config = {"bottleneck": 4, "pooling": "backbone"}
    task = make_task(session, blobs, classes=(ODD, "egret"), n_train=6, n_eval=2, config=config)
    session.commit()
    learn(task.id)
    chromium.look(width=1440)
    chromium.send("Network.clearBrowserCookies")
    chromium.open(f"{site}/admin/learners/birds/classes")
    chromium.evaluate(f"document.querySelector('#key').value = '{role_keys['trainer']}'")
    chromium.messages.clear()
    chromium.evaluate("document.querySelector('main form').requestSubmit()")
    chromium.wait_until(f"location.pathname === '/admin/learners/birds/classes' && {IS_READY}")
    chromium.evaluate(f"document.querySelector('.class-title a[href=\"{ADDRESS}\"]').click()")
    chromium.wait_until(f"location.pathname === '{ADDRESS}' && {IS_READY}")
    return chromium


def waiting_correction(session):
    """Return the correction that was just asked for, once it is there."""

    def find():
        session.rollback()
        found = tasks.list_tasks(session, mode=corrections.MODE).items
        return found[0] if found and found[0].status == "queued" else None

    return wait_until(find)


def shows(session, label):
    session.rollback()
    learner = learners.get_learner(session, "birds")
    counts = {
        info.label: (info.n_train, info.n_eval) for info in learners.class_table(session, learner)
    }
    return counts[label]


def press(page, key, *, modifiers=0):
    for kind in ("keyDown", "keyUp"):
        text = {"text": " "} if key == " " and kind == "keyDown" else {}
        page.send(
            "Input.dispatchKeyEvent", type=kind, key=key, code=key, modifiers=modifiers, **text
        )


def test_images_are_chosen_by_keyboard_and_moved_while_the_page_watches(page, session, learn):
    assert page.evaluate("document.querySelector('h1').textContent") == ODD
    assert (
        page.evaluate(
            "[...document.querySelectorAll('main button')].filter((b) => b.disabled).length"
        )
        == 2
    )
    page.evaluate("document.querySelector('.tiles input[name=image]').focus()")
    press(page, " ")
    press(page, "ArrowRight")
    press(page, "ArrowRight", modifiers=8)
    assert page.evaluate(CHOSEN) == [True, True, True, *[False] * 5]
    assert page.evaluate(COUNT) == "3 images chosen"
    press(page, "ArrowLeft")
    press(page, " ")
    assert page.evaluate(CHOSEN)[1] is False
    page.evaluate("document.querySelector('#to').focus()")
    page.send("Input.insertText", text="egret")
    press(page, "Enter")
    # Enter in a field takes the first button, which moves.
    page.evaluate("document.querySelector('button[value=move]').click()")
    task = waiting_correction(session)
    assert [to for _, to in task.options["changes"]] == ["egret", "egret"]
    page.wait_until(f"location.search.includes('{task.id}') && {IS_READY}")
    assert "Moving 2 images to egret" in page.evaluate("document.body.textContent")
    learn(task.id)
    # The page sees that it has ended, without being asked.
    page.wait_until("document.querySelector('.notice-act') !== null")
    assert "2 images were moved to egret" in page.evaluate("document.body.textContent")
    assert shows(session, "egret") == (8, 2)

    page.evaluate("document.querySelector('.notice-act button').click()")
    undo = waiting_correction(session)
    assert undo.options["undoes"] == task.id
    learn(undo.id)
    page.wait_until("document.body?.textContent.includes('2 images were put back')")
    assert (shows(session, "egret"), shows(session, ODD)) == ((6, 2), (6, 2))
    assert page.messages == []


def test_a_range_is_chosen_with_shift_and_removed_and_put_back(page, session, learn):
    boxes = "document.querySelectorAll('.tiles input[name=image]')"
    page.evaluate(f"{boxes}[4].click()")
    page.evaluate(
        f"{boxes}[6].dispatchEvent(new MouseEvent('click', {{bubbles: true, shiftKey: true}}))"
    )
    assert page.evaluate(CHOSEN) == [False] * 4 + [True] * 3 + [False]
    page.evaluate("document.querySelector('button[value=remove]').click()")
    task = waiting_correction(session)
    learn(task.id)
    assert shows(session, ODD) == (4, 1)
    page.wait_until("document.body?.textContent.includes('3 images were removed')")
    page.evaluate("document.querySelector('a[href$=\"show=removed\"]').click()")
    page.wait_until(
        f"location.search.includes('show=removed') && {IS_READY} && {boxes}.length === 3"
    )
    page.evaluate(f"{boxes}[0].click()")
    page.evaluate("document.querySelector('button[value=restore]').click()")
    learn(waiting_correction(session).id)
    page.wait_until(f"{boxes}.length === 2")
    assert shows(session, ODD) == (5, 1)


def test_it_works_without_a_script(page, session, site):
    page.send("Emulation.setScriptExecutionDisabled", value=True)
    try:
        page.open(f"{site}{ADDRESS}")
        page.evaluate("document.querySelectorAll('.tiles input[name=image]')[1].click()")
        page.evaluate("document.querySelector('button[value=remove]').click()")
        task = waiting_correction(session)
        assert [to for _, to in task.options["changes"]] == [None]
    finally:
        page.send("Emulation.setScriptExecutionDisabled", value=False)


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_its_window(page, site, width, dark):
    page.look(width=width, dark=dark)
    page.open(f"{site}{ADDRESS}?show=all")
    page.wait_until(f"location.search === '?show=all' && {IS_READY}")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    bar = json.loads(
        page.evaluate(
            "JSON.stringify(document.querySelector('.choosing-bar').getBoundingClientRect())"
        )
    )
    assert 0 <= bar["left"] < bar["right"] <= width
