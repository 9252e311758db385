"""Notifications in a real browser: added by keys alone, tried out, repaired and deleted, at any width."""

import pytest

from registry import deliveries, subscriptions
from tests.factories import make_learner, make_subscription
from tests.service.dashboard.browser.chromium import EXECUTABLE
from tests.service.dashboard.browser.person import Person
from tests.service.notifying.receivers import receiving
from tests.waiting import PACE, wait_until

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(EXECUTABLE is None, reason="there is no Chromium on this machine"),
]
TEXT = "document.querySelector('main').innerText"
FOCUSED = "document.activeElement.matches('{selector}')"


@pytest.fixture
def settings(settings):
    return settings.model_copy(update={"notify_allow": ("127.0.0.1",)})


@pytest.fixture
def receiver():
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def person(chromium, site, role_keys):
    chromium.look(width=1440)
    person = Person(chromium)
    person.log_in(role_keys["admin"], f"{site}/admin/notifications")
    yield person
    person.leave()


def tab_to(person, selector):
    for _ in range(80):
        if person.browser.evaluate(FOCUSED.format(selector=selector)):
            return
        person.press("Tab")
    raise AssertionError(f"{selector} cannot be reached with the keyboard")


def new_page(browser):
    browser.wait_until("!globalThis.left && document.readyState === 'complete'")


def press_enter(person):
    person.browser.evaluate("globalThis.left = 1")
    person.press("Enter")
    new_page(person.browser)


def test_somebody_without_a_mouse_adds_one_tries_it_and_repairs_it(
    person, session, receiver, chromium
):
    receiver.answers = [(500, {}), (204, {})]
    tab_to(person, "#name")
    person.paste("Herons at the pond")
    tab_to(person, "#target")
    person.paste(receiver.url)
    tab_to(person, '[value="prediction.made"]')
    person.press(" ")
    tab_to(person, "#labels")
    person.paste("heron, egret")
    tab_to(person, "#min_score")
    person.paste("80")
    press_enter(person)
    assert "whsec_" in chromium.evaluate(TEXT)
    [one] = subscriptions.list_all(session)
    assert one.rule == {
        "labels": ["heron", "egret"],
        "min_score": 0.8,
        "statuses": ["failed", "held"],
    }
    assert (one.name, one.events, one.target) == (
        "Herons at the pond",
        ["prediction.made"],
        receiver.url,
    )
    told = "an image is answered with heron or egret, with a score of at least 80%"
    assert told in chromium.evaluate(TEXT)

    tab_to(person, '.told-acts form[action$="/test"] button')
    press_enter(person)
    assert receiver.got.acquire(timeout=PACE.scaled(60))
    wait_until(lambda: failed(session, one.id))
    chromium.open(chromium.evaluate("location.href"))
    text = chromium.evaluate(TEXT)
    assert "The receiver answered 500." in text
    assert "not arriving" in text

    tab_to(person, ".told-messages form button")
    press_enter(person)
    wait_until(lambda: not failed(session, one.id))
    chromium.open(chromium.evaluate("location.href"))
    text = chromium.evaluate(TEXT)
    assert "delivered" in text
    assert "not arriving" not in text


def failed(session, subscription_id):
    session.rollback()
    session.expire_all()
    return subscriptions.get(session, subscription_id).failing_since


def test_a_target_inside_the_network_is_refused_and_the_form_kept(person, chromium):
    person.click("#name")
    person.paste("Inside")
    person.click("#target")
    person.paste("http://192.168.1.20/hook")
    person.click("[value='unknown.found']")
    person.click("#min_images")
    chromium.evaluate("document.querySelector('#min_images').value = ''")
    person.paste("9")
    press_enter(person)
    assert "FILOPODIA_NOTIFY_ALLOW" in chromium.evaluate(
        "document.querySelector('[role=alert]').innerText"
    )
    kept = "[...document.querySelectorAll('#name, #target, #min_images')].map((one) => one.value)"
    assert chromium.evaluate(kept) == ["Inside", "http://192.168.1.20/hook", "9"]
    assert chromium.evaluate("document.querySelector('[value=\"unknown.found\"]').checked")


def test_one_is_turned_off_and_on_and_deleted(person, session, chromium, site, receiver):
    make_subscription(session, target=receiver.url)
    session.commit()
    chromium.open(f"{site}/admin/notifications")
    for button, said in (
        ("[name=enabled][value=no] + button", "Nothing is sent"),
        ("[name=enabled][value=yes] + button", "Messages are sent again"),
        (".confirm summary", None),
        (".confirm .danger", "The notification is deleted"),
    ):
        chromium.evaluate(f"globalThis.left = {1 if said else 0}")
        person.click(button)
        new_page(chromium)
        if said:
            assert said in chromium.evaluate(TEXT)
    session.rollback()
    assert subscriptions.list_all(session) == []


@pytest.mark.parametrize("width", [390, 768, 1440])
@pytest.mark.parametrize("dark", [False, True])
def test_no_page_is_wider_than_its_window(person, session, chromium, site, width, dark):
    learner = make_learner(session)
    one = make_subscription(
        session, learner=learner, labels=["x" * 100], target="mqtt:" + "y" * 300
    )
    deliveries.add_test(session, one)
    subscriptions.enable(session, one, is_enabled=False)
    session.commit()
    chromium.look(width=width, dark=dark)
    for path in ("", f"/{one.id}"):
        chromium.open(f"{site}/admin/notifications{path}")
        assert chromium.evaluate("document.documentElement.scrollWidth") <= width
        assert chromium.evaluate("document.title").endswith("Filopodia")
