"""The classes as pictures, and the form that renames and hides them."""

import re

import pytest

from registry import audit, classes, learners, samples
from service.dashboard import gallery
from tests.factories import make_learner
from tests.service.dashboard.published import publish_task

OWN = {"Sec-Fetch-Site": "same-origin"}
PATH = "/admin/learners/birds/classes"


@pytest.fixture
def birds(session, blobs):
    make_learner(session, "birds")
    first = {"1": {"heron": {"heron": 9, "egret": 1}, "egret": {"egret": 10}}}
    second = {**first, "1": {"heron": {"heron": 4, "stork": 4}}, "2": {"stork": {"stork": 2}}}
    publish_task(session, blobs, "birds", ("heron", "egret"), [0.9], metrics={"confusion": first})
    publish_task(session, blobs, "birds", ("stork",), [0.9, 1.0], metrics={"confusion": second})
    return "birds"


@pytest.fixture
def shown(session, birds):
    """Return a function that tells what operators have set."""

    def read():
        session.rollback()
        return classes.shown(session, learners.get_learner(session, birds).id)

    return read


def test_a_card_tells_what_is_known_of_a_class(session, birds):
    heron, egret, stork = gallery.gallery(session, birds).classes
    assert (heron.label, heron.task_index, heron.n_train, heron.n_eval) == ("heron", 1, 6, 3)
    assert (heron.accuracy.learned.value, heron.accuracy.now.value) == (0.9, 0.5)
    assert (egret.accuracy.learned.value, egret.accuracy.now) == (1.0, None)
    assert (stork.task_index, stork.accuracy.learned.value) == (2, 1.0)
    assert heron.accuracy.change.may_be_zero
    assert len(heron.samples) == gallery.IMAGES_SHOWN
    assert {sample.label for sample in heron.samples} == {"heron"}


def test_it_follows_what_is_live(session, birds):
    learners.set_alias(session, learners.get_learner(session, birds).id, 1)
    heron, _ = gallery.gallery(session, birds).classes
    assert heron.accuracy.now.value == 0.9


def test_classes_come_in_pages_and_are_found(session, birds, monkeypatch):
    monkeypatch.setattr(gallery, "CLASSES_SHOWN", 2)
    last = gallery.gallery(session, birds, page=9)
    assert ([card.label for card in last.classes], last.page, last.n_pages) == (["stork"], 2, 2)
    page = gallery.gallery(session, birds, search="EGR")
    assert ([card.label for card in page.classes], page.n_found) == (["egret"], 1)


def test_a_learner_without_classes_says_so(browser, session):
    make_learner(session, "fresh")
    session.commit()
    assert "No class yet" in browser.get("/admin/learners/fresh/classes").text


def test_pictures_are_there_to_be_loaded(browser, birds):
    html = browser.get(PATH).text
    addresses = re.findall(r'<img src="(/admin/samples/\w+/image)"', html)
    assert len(addresses) == 3 * gallery.IMAGES_SHOWN
    answer = browser.get(addresses[0])
    assert answer.headers["Content-Type"] == "image/png"
    assert "sandbox" in answer.headers["Content-Security-Policy"]


def test_a_class_is_renamed_and_hidden_and_shown_again(browser, session, shown):
    form = {"label": "heron", "name": "Grey heron", "is_hidden": "true", "page": "1"}
    answer = browser.post(PATH, data=form, headers=OWN)
    assert answer.headers["Location"] == f"{PATH}?page=1&done=class-changed"
    assert (shown().name("heron"), shown().hidden) == ("Grey heron", {"heron"})
    html = browser.get(answer.headers["Location"]).text
    assert "learned as heron" in html
    assert "pill-hidden" in html
    browser.post(PATH, data={"label": "heron", "name": ""}, headers=OWN)
    assert (shown().name("heron"), shown().hidden) == ("heron", frozenset())
    entries = audit.list_audit(session, action="class.update").items
    assert [entry.subject for entry in entries] == ["heron", "heron"]
    assert entries[1].details["name"] == {"before": "heron", "after": "Grey heron"}


def test_saving_what_is_there_is_no_change(browser, session, birds):
    browser.post(PATH, data={"label": "heron", "name": "heron"}, headers=OWN)
    assert audit.list_audit(session).items == []


@pytest.mark.parametrize(
    ("name", "problem"),
    [("egret", "label-known"), ("EGRET", "label-confusable"), ("a\u202eb", "label-invalid")],
)
def test_a_name_that_cannot_be_is_refused_on_the_page(browser, shown, name, problem):
    answer = browser.post(PATH, data={"label": "heron", "name": name, "search": "he"}, headers=OWN)
    assert answer.headers["Location"] == f"{PATH}?page=1&search=he&problem={problem}"
    assert 'role="alert"' in browser.get(answer.headers["Location"]).text
    assert shown().name("heron") == "heron"


def test_a_class_that_is_not_there_cannot_be_changed(browser, birds):
    answer = browser.post(PATH, data={"label": "dodo", "name": "x"}, headers=OWN)
    assert answer.status_code == 404


def test_a_predictor_sees_the_gallery_without_forms(visitor, log_in, role_keys, shown):
    log_in(role_keys["predictor"])
    html = visitor.get(PATH).text
    assert "heron" in html
    assert "Rename" not in html
    form = {"label": "heron", "name": "x"}
    assert visitor.post(PATH, data=form, headers=OWN).status_code == 403
    assert shown().name("heron") == "heron"


@pytest.fixture
def lost(session, blobs, birds):
    """The sha256 of an image that is gone from the store, and its sample's id."""
    sample = gallery.gallery(session, birds).classes[0].samples[0]
    sha256 = samples.get_sample(session, sample.id).blob_sha256
    blobs.delete(sha256)
    return sha256, sample.id


def test_an_image_that_is_gone_is_the_same_problem_on_a_page_as_in_the_api(browser, client, lost):
    sha256, sample = lost
    page = browser.get(f"/admin/samples/{sample}/image")
    api = client.get(f"/v1/samples/{sample}/image")
    tried = browser.post("/admin/learners/birds/try", data={"sample": sample}, headers=OWN)
    assert page.status_code == api.status_code == tried.status_code == 404
    assert api.json()["code"] == "sample-not-found"
    for answer in (page, api, tried):
        assert sha256 not in answer.text


def test_from_how_many_percent_a_class_is_known(browser, session, shown):
    page = "/admin/learners/birds/classes"
    form = {"label": "heron", "name": "heron", "min_score": "72,5 %"}
    assert browser.post(page, data=form, headers=OWN).status_code == 303
    [entry] = audit.list_audit(session, action="class.update").items
    assert entry.details == {"min_score": {"before": None, "after": 0.725}}
    html = browser.get(page).text
    assert 'value="72.5"' in html
    assert "<dt>known from</dt><dd>72.5%</dd>" in html
    for wrong in ("much", "101", "nan"):
        answer = browser.post(page, data={**form, "min_score": wrong}, headers=OWN)
        assert "problem=validation" in answer.headers["location"]
    browser.post(page, data={**form, "min_score": ""}, headers=OWN)
    assert "known from" not in browser.get(page).text
