"""Teaching in a real browser: what is gathered, shown, named, refused and sent."""

import json

import pytest

from registry import tasks
from registry.samples import list_samples
from tests.factories import make_image, make_learner, make_task, publish_task
from tests.service.dashboard.browser.chromium import ELSEWHERE, EXECUTABLE
from tests.service.dashboard.browser.drawings import draw
from tests.service.dashboard.browser.person import Person
from tests.waiting import PACE, wait_until

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(EXECUTABLE is None, reason="there is no Chromium on this machine"),
]

PAGE = "/admin/learners/birds/teach"
GROUPS = """[...document.querySelectorAll(".group")].map((group) => [
    group.querySelector(".group-name").value, group.querySelectorAll(".tile").length
])"""
SUMMARY = "document.querySelector('[data-summary]').textContent"
NOTICES = "document.querySelector('[data-notices]').textContent"
LEARN = "document.querySelector('[data-learn]')"
FOCUSED = "document.activeElement"


@pytest.fixture
def empty(session):
    make_learner(session, "birds")
    session.commit()


@pytest.fixture
def person(chromium, site, role_keys, empty):
    """Somebody who may teach, on the page that does."""
    chromium.look(width=1440)
    person = Person(chromium)
    person.log_in(role_keys["trainer"], f"{site}{PAGE}")
    chromium.messages.clear()
    person.actions = 0
    yield person
    person.leave()


def groups(person):
    return dict(person.browser.evaluate(GROUPS))


def wait_for(person, expected):
    wait_until(lambda: groups(person) == expected)


def posted(session):
    """Return the newest task, once there is one."""

    def find():
        session.rollback()
        return tasks.list_tasks(session, learner_name="birds").items

    return wait_until(find)[0]


def pick_folder(person, *folders):
    person.choose("[data-choose=folder]", "[data-input=folder]", folders)


def pick_photos(person, *files):
    person.choose("[data-choose=photos]", "[data-input=photos]", files)


def test_folders_become_classes_with_thumbnails_and_are_learned(person, session, tmp_path):
    for label in ("ball", "stripes"):
        draw(tmp_path / "things", label, range(5))
    pick_folder(person, tmp_path / "things")
    wait_for(person, {"ball": 5, "stripes": 5})
    page = person.browser
    page.wait_until("document.querySelectorAll('.tile img').length === 10")
    assert page.evaluate(SUMMARY) == "10 photos in 2 classes"
    person.click("[data-learn]")
    task = posted(session)
    page.wait_until(f"location.search === '?task={task.id}'")
    assert (sorted(task.classes), task.n_train + task.n_eval) == (["ball", "stripes"], 10)
    assert page.messages == []


def test_folders_can_be_dropped_and_splits_are_kept(person, session, tmp_path):
    for label in ("ball", "stripes"):
        draw(tmp_path / "train", label, range(3))
        draw(tmp_path / "test", label, range(5, 7))
    person.drop("[data-drop]", [tmp_path / "train", tmp_path / "test"])
    wait_for(person, {"ball": 5, "stripes": 5})
    assert "Kept out to measure accuracy" in person.browser.evaluate(NOTICES)
    person.click("[data-learn]")
    task = posted(session)
    assert (task.n_train, task.n_eval) == (6, 4)


def test_loose_photos_are_named_and_names_are_mended(person, session, tmp_path):
    balls = draw(tmp_path, "ball", range(4))
    stripes = draw(tmp_path, "stripes", range(3))
    pick_photos(person, *balls, *stripes)
    wait_for(person, {"": 7})
    page = person.browser
    assert page.evaluate(f"{LEARN}.disabled")
    assert page.evaluate(SUMMARY) == "7 photos have no class yet. Name or remove them."
    for number in (1, 2, 3):
        person.click(f".is-unnamed .tile:nth-child({number}) .tile-pick")
    person.click(".is-unnamed .group-name")
    person.paste("  red   ball ")
    person.press("Enter")
    wait_for(person, {"red ball": 3, "": 4})
    person.click(".is-unnamed .group-name")
    person.paste("Stripes")
    person.press("Enter")
    wait_for(person, {"red ball": 3, "Stripes": 4})
    # One of them is a ball after all, and one photo is not wanted.
    wrong = '.tile-pick[aria-label="ball-3.png"]'
    person.click(wrong)
    person.click("#teach-move")
    person.paste("RED BALL")
    person.press("Enter")
    wait_for(person, {"red ball": 4, "Stripes": 3})
    person.click('.tile:has([aria-label="stripes-2.png"]) .tile-pick')
    person.press("Delete")
    wait_for(person, {"red ball": 4, "Stripes": 2})
    # A whole class can be called otherwise.
    person.click(".group:nth-child(2) .group-name")
    page.evaluate(f"{FOCUSED}.select()")
    person.paste("stripes")
    person.press("Tab")
    wait_for(person, {"red ball": 4, "stripes": 2})
    person.click("[data-learn]")
    task = posted(session)
    assert (sorted(task.classes), task.n_train + task.n_eval) == (["red ball", "stripes"], 6)


def test_one_photo_is_too_few_and_the_page_says_how_many_it_takes(person, tmp_path):
    pick_photos(person, *draw(tmp_path, "ball", [1]))
    wait_for(person, {"": 1})
    person.paste("ball")
    person.press("Enter")
    wait_for(person, {"ball": 1})
    assert person.browser.evaluate(f"{LEARN}.disabled")
    assert person.browser.evaluate(SUMMARY).startswith("“ball” has 1 photo: add 1 more")


def test_one_photo_of_a_known_class_is_added_to_it(person, session, blobs, tmp_path):
    publish_task(session, make_task(session, blobs, "birds", classes=("ball", "cube")))
    session.commit()
    person.browser.open(f"{person.browser.evaluate('location.origin')}{PAGE}")
    pick_photos(person, *draw(tmp_path, "ball", [1]))
    wait_for(person, {"": 1})
    person.paste("BALL")
    person.press("Enter")
    wait_for(person, {"ball": 1})
    note = person.browser.evaluate("document.querySelector('.group-count').textContent")
    assert note == "1 photo, added to the class that it knows"
    person.click("[data-learn]")
    wait_until(lambda: posted(session).index == 2)
    assert (posted(session).mode, posted(session).classes) == ("extend", ["ball"])


def test_what_is_no_photo_is_left_aside_and_what_only_looks_like_one_is_refused(
    person, session, tmp_path
):
    for label in ("ball", "stripes"):
        draw(tmp_path / "things", label, range(3))
    (tmp_path / "things/ball/notes.txt").write_text("No photo.")
    (tmp_path / "things/ball/.hidden").write_text("Nor this.")
    (tmp_path / "things/stripes/broken.jpg").write_text("No photo either.")
    pick_folder(person, tmp_path / "things")
    wait_for(person, {"ball": 3, "stripes": 4})
    page = person.browser
    told = page.evaluate(NOTICES)
    assert told == "1 file is no photo and was left aside:things/ball/notes.txt"
    page.wait_until("document.querySelectorAll('.is-unseen').length === 1")
    person.click("[data-learn]")
    page.wait_until("!!document.querySelector('.is-refused')")
    assert page.evaluate("document.querySelectorAll('.is-refused').length") == 1
    tile = "document.querySelector('.is-refused')"
    assert "broken.jpg" in page.evaluate(f"{tile}.querySelector('.tile-pick').ariaLabel")
    assert page.evaluate(f"{tile}.querySelector('.tile-why').textContent")
    assert (
        page.evaluate("document.querySelector('[data-others]').textContent") == "Learn the other 6"
    )
    session.rollback()
    assert tasks.list_tasks(session).items == []
    person.click("[data-others]")
    task = posted(session)
    assert task.n_train + task.n_eval == 6
    assert [one["filename"] for one in task.rejected] == ["broken.jpg"]
    page.wait_until("!!document.querySelector('ul.refused')")
    assert "broken.jpg" in page.evaluate("document.querySelector('ul.refused').textContent")


HOSTILE = "\"><img src=x onerror='globalThis.ran=1'>"


def test_hostile_names_of_files_and_folders_stay_text(person, session, tmp_path):
    (folder,) = {path.parent for path in draw(tmp_path / "things", HOSTILE, range(2))}
    for number, name in enumerate(('a"b.png', "__proto__", "c\rd.png", "e'f<b>.png")):
        (folder / name).write_bytes(make_image("heron", number, format="PNG"))
    draw(tmp_path / "things", "__proto__", range(5, 7))
    pick_folder(person, tmp_path / "things")
    wait_for(person, {HOSTILE: 6, "__proto__": 2})
    page = person.browser
    page.wait_until("document.querySelectorAll('.tile img').length === 8")
    assert page.evaluate("document.querySelectorAll('img[src=x]').length") == 0
    person.click("[data-learn]")
    task = posted(session)
    assert sorted(task.classes) == sorted([HOSTILE, "__proto__"])
    found = {sample.filename for sample in list_samples(session, task.id).items}
    assert {"a_b.png", "__proto__", "c_d.png", "e'f<b>.png"} <= found
    page.wait_until("location.search.startsWith('?task=')")
    assert page.evaluate("globalThis.ran") is None
    assert page.messages == []


def test_folders_that_are_not_understood_are_shown_to_be_named(person, tmp_path):
    draw(tmp_path / "things", "ball", range(2))
    draw(tmp_path / "things/more/deep", "stripes", range(2))
    pick_folder(person, tmp_path / "things")
    wait_for(person, {"ball": 2, "stripes": 2})
    assert "different depths" in person.browser.evaluate(NOTICES)


def test_an_archive_is_handed_to_its_own_form(person, tmp_path):
    packed = tmp_path / "birds.zip"
    packed.write_bytes(b"PK\x03\x04")
    person.drop("[data-drop]", [packed])
    form = "document.querySelector('[data-archive] input').files"
    person.browser.wait_until(f"{form}.length === 1 && {form}[0].name === 'birds.zip'")
    assert person.browser.evaluate(f"{FOCUSED}.textContent") == "Learn the archive"


def test_by_keyboard_alone(person, session, tmp_path):
    page = person.browser
    pictures = [*draw(tmp_path, "ball", range(3)), *draw(tmp_path, "stripes", range(1))]

    def tab_to(condition):
        for _ in range(40):
            if page.evaluate(condition):
                return
            person.press("Tab")
        raise AssertionError(condition)

    tab_to(f"{FOCUSED}.dataset.choose === 'photos'")
    person.press("Enter")
    person.hand("[data-input=photos]", pictures)
    wait_for(person, {"": 4})
    assert page.evaluate(f"{FOCUSED}.classList.contains('group-name')")
    tab_to(f"{FOCUSED}.classList.contains('tile-pick')")
    person.press("ArrowRight")
    assert page.evaluate(f"{FOCUSED}.ariaLabel") == "ball-1.png"
    person.press(" ")
    assert page.evaluate(f"{FOCUSED}.getAttribute('aria-pressed')") == "true"
    person.press("Escape")
    assert page.evaluate(f"{FOCUSED}.getAttribute('aria-pressed')") == "false"
    person.press("ArrowRight")
    person.press("ArrowRight")
    assert page.evaluate(f"{FOCUSED}.ariaLabel") == "stripes-0.png"
    person.press("Delete")
    wait_for(person, {"": 3})
    assert page.evaluate(f"{FOCUSED}.classList.contains('tile-pick')")
    page.evaluate("document.querySelector('.group-name').focus()")
    person.paste("ball")
    person.press("Enter")
    wait_for(person, {"ball": 3})
    assert page.evaluate(f"{FOCUSED} === {LEARN}")
    person.press("Enter")
    assert posted(session).classes == ["ball"]


@pytest.mark.parametrize("dark", [False, True])
def test_nothing_is_wider_than_a_telephone(person, tmp_path, dark):
    person.browser.look(width=390, height=844, dark=dark)
    for label in ("ball", "stripes", "x" * 90):
        draw(tmp_path / "things", label, range(3))
    pick_folder(person, tmp_path / "things")
    wait_for(person, {"ball": 3, "stripes": 3, "x" * 90: 3})
    person.click(".tile-pick")
    person.browser.wait_until("!document.querySelector('[data-selected]').hidden")
    assert person.browser.evaluate("document.documentElement.scrollWidth") <= 390
    assert person.browser.evaluate("window.innerWidth") == 390


def test_five_hundred_photos_stay_fluid(person, tmp_path):
    draw(tmp_path / "things", "ball", range(500))
    draw(tmp_path / "things", "stripes", range(2))
    pick_folder(person, tmp_path / "things")
    wait_for(person, {"ball": 120, "stripes": 2})
    page = person.browser
    assert page.evaluate(SUMMARY) == "502 photos in 2 classes"
    page.wait_until("document.querySelectorAll('.tile img').length >= 20")
    assert page.evaluate("document.querySelectorAll('.tile img').length") < 122, "not lazy"
    times = page.evaluate("""(() => {
        const times = [];
        for (const pick of [...document.querySelectorAll(".tile-pick")].slice(0, 20)) {
            const started = performance.now();
            pick.click();
            document.body.getBoundingClientRect();
            times.push(performance.now() - started);
        }
        return times.sort((a, b) => a - b);
    })()""")
    assert times[len(times) // 2] < PACE.scaled(100), times
    person.click(".group-more")
    wait_for(person, {"ball": 500, "stripes": 2})


def test_without_a_script_plain_forms_do_it(person, session, tmp_path):
    page = person.browser
    page.send("Emulation.setScriptExecutionDisabled", value=True)
    try:
        page.open(f"{page.evaluate('location.origin')}{PAGE}")
        assert page.evaluate("document.querySelector('[data-teach]').hidden")
        person.click("#plain-label")
        person.paste("ball")
        person.choose("#plain-images", "#plain-images", draw(tmp_path, "ball", range(3)))
        person.click("[data-one-class] button")
        task = posted(session)
        assert (task.classes, task.n_train + task.n_eval) == (["ball"], 3)
        page.wait_until(f"location.search === '?task={task.id}'")
        page.wait_until("!!document.querySelector('noscript a')")
    finally:
        page.send("Emulation.setScriptExecutionDisabled", value=False)


def test_a_live_camera_takes_photos_of_a_class(person, session):
    page = person.browser
    page.wait_until("!document.querySelector('[data-camera]').hidden")
    person.click("[data-camera]")
    page.wait_until("document.querySelector('.camera video').videoWidth > 0")
    page.wait_until(f"{FOCUSED}.id === 'camera-label'")
    person.paste("ball")
    for n in (1, 2):
        person.press("Enter")
        wait_for(person, {"ball": n})
        said = "document.querySelector('[data-said]').textContent"
        page.wait_until(f"{said} === '{n} taken'")
    page.wait_until("document.querySelectorAll('.tile img').length === 2")
    stream = "document.querySelector('.camera video').srcObject"
    tracks = json.dumps(f"{stream}.getTracks()[0]")
    page.evaluate(f"globalThis.track = eval({tracks})")
    person.click("[data-close]")
    assert page.evaluate("globalThis.track.readyState") == "ended"
    assert page.messages == []


def test_where_the_origin_is_not_secure_the_page_says_why_there_is_no_camera(
    person, site, role_keys
):
    elsewhere = site.replace("127.0.0.1", ELSEWHERE)
    person.log_in(role_keys["trainer"], f"{elsewhere}{PAGE}")
    page = person.browser
    assert page.evaluate("isSecureContext") is False
    page.wait_until("!document.querySelector('[data-camera-why]').hidden")
    assert page.evaluate("document.querySelector('[data-camera]').hidden")


def test_a_telephone_offers_its_own_camera_program(person, site):
    page = person.browser
    page.send("Emulation.setTouchEmulationEnabled", enabled=True)
    try:
        page.open(f"{site}{PAGE}")
        page.wait_until("!document.querySelector('[data-choose=shot]').hidden")
        assert (
            page.evaluate("document.querySelector('[data-input=shot]').getAttribute('capture')")
            == "environment"
        )
    finally:
        page.send("Emulation.setTouchEmulationEnabled", enabled=False)


def test_whoever_leaves_unlearned_photos_is_asked(person, tmp_path):
    page = person.browser
    assert page.evaluate("!window.onbeforeunload(new Event('beforeunload', {cancelable: true}))")
    pick_photos(person, *draw(tmp_path, "ball", range(2)))
    wait_for(person, {"": 2})
    asks = """(() => {
        const event = new Event("beforeunload", { cancelable: true });
        window.onbeforeunload(event);
        return event.defaultPrevented;
    })()"""
    assert page.evaluate(asks) is True
