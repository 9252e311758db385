"""Teaching over the dashboard's forms: what the page shows, what it takes, and what it says of what it does not."""

import io
import json
import zipfile

import pytest

from registry import classes, learners, queue, tasks, versions
from registry.statuses import TaskStatus
from tests.factories import make_image, make_learner, make_new_version, make_task, publish_task
from tests.service.api import version_of
from tests.waiting import wait_until

OWN = {"Sec-Fetch-Site": "same-origin"}
SCRIPT = OWN | {"Accept": "application/json"}
PAGE = "/admin/learners/birds/teach"


@pytest.fixture
def empty(session):
    make_learner(session, "birds")
    session.commit()
    return "birds"


def photos(label="heron", n=3, start=0):
    return [
        ("images", (f"{label}-{i}.png", make_image(label, i), "image/png"))
        for i in range(start, start + n)
    ]


def waiting(session):
    session.rollback()
    return tasks.list_tasks(session, learner_name="birds").items


def form(files, labels):
    manifest = {
        name: {"label": label} for (_, (name, *_)), label in zip(files, labels, strict=True)
    }
    return {"files": [*files, ("manifest", (None, json.dumps(manifest)))]}


def test_an_untaught_learner_leads_to_the_page(browser, empty):
    html = browser.get("/admin/learners/birds").text
    assert f'class="button primary" href="{PAGE}"' in html
    assert f'href="{PAGE}"' in browser.get("/admin/learners/birds/classes").text
    page = browser.get(PAGE)
    assert page.status_code == 200
    assert "two or more classes" in page.text


def test_known_classes_are_offered_by_what_they_are_called(browser, session, three):
    learner = learners.get_learner(session, three)
    classes.rename(session, learner, "heron", "grey heron")
    make_task(session, browser.app.state.context.blobs, three, classes=("ibis",))
    session.commit()
    html = browser.get(PAGE).text
    for name in ("grey heron", "egret", "ibis"):
        assert f'<option value="{name}">' in html
    assert '<option value="heron">' not in html
    assert "It knows 5 classes" in html


def test_photos_of_one_class_without_a_script(browser, session, empty):
    answer = browser.post(PAGE, data={"labels": "  grey heron "}, files=photos(), headers=OWN)
    (task,) = waiting(session)
    assert (answer.status_code, answer.headers["location"]) == (303, f"{PAGE}?task={task.id}")
    assert (task.classes, task.n_train) == (["grey heron"], 3)


def test_an_archive_without_a_script(browser, session, empty):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for label in ("heron", "egret"):
            for i in range(2):
                archive.writestr(f"birds/{label}/{i}.png", make_image(label, i))
    files = {"images": ("birds.zip", packed.getvalue(), "application/zip")}
    assert browser.post(PAGE, files=files, headers=OWN).status_code == 303
    (task,) = waiting(session)
    assert sorted(task.classes) == ["egret", "heron"]


def test_a_script_is_answered_with_the_task(browser, session, empty):
    files = [*photos("heron"), *photos("egret")]
    answer = browser.post(PAGE, **form(files, ["heron"] * 3 + ["egret"] * 3), headers=SCRIPT)
    assert answer.status_code == 202
    assert answer.json()["id"] == waiting(session)[0].id


def test_the_same_key_teaches_once(browser, session, empty):
    sent = {**form(photos(), ["heron"] * 3), "headers": SCRIPT | {"Idempotency-Key": "once"}}
    first, second = (browser.post(PAGE, **sent) for _ in range(2))
    assert first.json()["id"] == second.json()["id"]
    assert len(waiting(session)) == 1


def test_more_photos_of_a_known_class_are_added_to_it(browser, session, blobs, empty):
    publish_task(session, make_task(session, blobs, empty))
    session.commit()
    sent = form(photos("heron", 1, 50), ["heron"])
    assert browser.post(PAGE, **sent, headers=SCRIPT).status_code == 202
    newest = waiting(session)[0]
    assert (newest.mode, newest.classes) == ("extend", ["heron"])


def test_an_unusable_photo_is_named_and_the_others_can_be_learned(browser, session, empty):
    files = [*photos(), ("images", ("notes.jpg", b"only text", "image/jpeg"))]
    sent = form(files, ["heron"] * 4)
    refused = browser.post(PAGE, **sent, headers=SCRIPT)
    assert refused.status_code == 422
    told = refused.json()
    assert told["code"] == "images-rejected"
    assert "`" not in told["notice"]
    (picture,) = told["pictures"]
    assert (picture["index"], picture["filename"]) == (3, "notes.jpg")
    assert picture["reason"]
    assert waiting(session) == []
    assert browser.post(f"{PAGE}?skip=true", **sent, headers=SCRIPT).status_code == 202
    (task,) = waiting(session)
    page = browser.get(f"{PAGE}?task={task.id}").text
    assert "<b>notes.jpg</b>" in page


def test_without_a_script_the_page_names_what_was_refused(browser, empty):
    files = [*photos(), ("images", ("<b>.jpg", b"only text", "image/jpeg"))]
    answer = browser.post(PAGE, data={"labels": "heron"}, files=files, headers=OWN)
    assert answer.status_code == 422
    assert "1 photo cannot be used" in answer.text
    assert "<b>&lt;b&gt;.jpg</b>" in answer.text


def test_one_photo_of_a_new_class_is_too_few(browser, session, empty):
    answer = browser.post(PAGE, **form(photos(n=1), ["heron"]), headers=SCRIPT)
    assert answer.status_code == 422
    (picture,) = answer.json()["pictures"]
    assert picture["label"] == "heron"
    assert waiting(session) == []


@pytest.mark.parametrize("label", ["", " ", "he\u200bron", "..", "x" * 129])
def test_a_class_that_cannot_be_called_so_is_told_in_words(browser, session, empty, label):
    answer = browser.post(PAGE, **form(photos(), [label] * 3), headers=SCRIPT)
    assert answer.status_code == 422
    notice = answer.json()["notice"]
    assert notice
    assert "manifest" not in notice
    assert waiting(session) == []


def test_names_of_folders_are_read_as_they_will_be_when_they_are_learned(browser, empty):
    paths = ["birds/train/heron/1.png", "birds/test/heron/2.png", "birds/train/egret/3.png"]
    files = [("images", (path, b"\x89PNG\r\n\x1a\n", "image/png")) for path in paths]
    files.append(("images", ("birds/train/heron/notes.txt", b"text", "text/plain")))
    told = browser.post(f"{PAGE}/look", files=files, headers=SCRIPT).json()
    assert told["files"] == [
        {"index": 0, "label": "heron", "split": "train"},
        {"index": 1, "label": "heron", "split": "eval"},
        {"index": 2, "label": "egret", "split": "train"},
    ]
    assert any("Kept out to measure accuracy" in note for note in told["notes"])


def test_folders_that_say_nothing_clear_are_told_in_words(browser, empty):
    paths = ["birds/train/1.png", "birds/other/2.png", "3/4/5/6.png"]
    files = [("images", (path, b"", "image/png")) for path in paths]
    answer = browser.post(f"{PAGE}/look", files=files, headers=SCRIPT)
    assert answer.status_code == 422
    assert answer.json()["code"] == "layout-unclear"
    assert "`" not in answer.json()["notice"]


@pytest.mark.parametrize("role", ["reader", "predictor"])
def test_who_may_not_teach_is_not_offered_it_and_refused(visitor, log_in, role_keys, empty, role):
    log_in(role_keys[role])
    for path in ("/admin/learners/birds", "/admin/learners/birds/classes"):
        assert "/teach" not in visitor.get(path).text
    assert visitor.get(PAGE).status_code == 403
    assert visitor.get(f"{PAGE}/live.json").status_code == 403
    for path in (PAGE, f"{PAGE}/look"):
        answer = visitor.post(path, data={"labels": "x"}, files=photos(), headers=OWN)
        assert answer.status_code == 403


def test_a_learner_that_is_not_there_has_no_such_page(browser):
    assert browser.get(PAGE).status_code == 404
    answer = browser.post(PAGE, **form(photos(), ["heron"] * 3), headers=SCRIPT)
    assert answer.status_code == 404


def test_the_page_follows_a_task_until_it_is_answered(client, browser, birds, learn):
    taught = [*photos("heron", 6), *photos("egret", 6)]
    labels = ["heron"] * 6 + ["egret"] * 6
    task_id = browser.post(PAGE, **form(taught, labels), headers=SCRIPT).json()["id"]
    page = browser.get(f"{PAGE}?task={task_id}").text
    assert "data-live=" in page
    assert "answers now" not in page
    (step,) = browser.get(f"{PAGE}/live.json?task={task_id}").json()["tasks"]
    assert (step["id"], step["status"]) == (task_id, "queued")
    learn(task_id)
    wait_until(lambda: version_of(client, birds) == 1)
    wait_until(lambda: browser.get(f"{PAGE}/live.json?task={task_id}").json() == {"tasks": []})
    page = browser.get(f"{PAGE}?task={task_id}").text
    assert "birds answers now" in page
    assert 'action="/admin/learners/birds/try"' in page
    assert "data-live=" not in page


def test_what_is_learned_and_not_loaded_is_not_said_to_be_answered(
    app, browser, session, blobs, empty
):
    app.state.context.watcher.stop()
    task = make_task(session, blobs, empty)
    publish_task(session, task)
    session.commit()
    (step,) = browser.get(f"{PAGE}/live.json?task={task.id}").json()["tasks"]
    assert step["status"] == "loading"
    assert "answers now" not in browser.get(f"{PAGE}?task={task.id}").text


def test_a_task_that_ends_otherwise_says_what_to_do(browser, session, blobs, empty):
    cancelled = make_task(session, blobs, empty, classes=("ibis",))
    tasks.request_cancel(session, cancelled.id)
    held = make_task(session, blobs, empty)
    claimed = queue.claim(session, held.id, "tests", 30)
    versions.hold(session, held.id, claimed.token, make_new_version(session, held), "It forgets.")
    session.commit()
    assert "somebody has cancelled it" in browser.get(f"{PAGE}?task={cancelled.id}").text
    assert "Decide about it" in browser.get(f"{PAGE}?task={held.id}").text
    for task in (cancelled, held):
        assert browser.get(f"{PAGE}/live.json?task={task.id}").json() == {"tasks": []}


def test_a_task_of_another_learner_is_not_shown(browser, session, blobs, three, empty_fish):
    task = make_task(session, blobs, empty_fish, classes=("carp",))
    session.commit()
    assert task.status == TaskStatus.QUEUED
    assert browser.get(f"{PAGE}?task={task.id}").status_code == 404
    assert browser.get(f"{PAGE}/live.json?task={task.id}").status_code == 404
    assert browser.get(f"{PAGE}?task=tsk_00000000").status_code == 404


@pytest.fixture
def empty_fish(session):
    make_learner(session, "fish")
    return "fish"


def test_a_task_has_one_bar_on_the_page_of_its_learner(browser, session, blobs, empty):
    make_task(session, blobs, empty)
    session.commit()
    assert browser.get("/admin/learners/birds").text.count("<progress") == 1
    assert browser.get("/admin/tasks").text.count("<progress") == 1
