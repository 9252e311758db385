"""Importing a bundle in the browser: what it is checked for, and what is said of one that does not do."""

import pytest

from tests.service.api import version_of
from tests.waiting import wait_until

OWN = {"Sec-Fetch-Site": "same-origin"}
PAGE = "/admin/import"


@pytest.fixture
def bundle(client, taught):
    """A version that has really learned, as its page hands it out."""
    return client.get("/v1/learners/birds/versions/1/bundle").content


def send(browser, data, name="again"):
    files = {"bundle": ("birds.tar", data, "application/x-tar")}
    return browser.post(PAGE, data={"name": name}, files=files, headers=OWN)


def test_a_bundle_becomes_a_learner_that_answers(browser, client, bundle):
    answer = send(browser, bundle)
    assert (answer.status_code, answer.headers["location"]) == (
        303,
        "/admin/learners/again?done=imported",
    )
    wait_until(lambda: version_of(client, "again") == 1)
    html = browser.get(answer.headers["location"]).text
    assert "The learner is imported" in html
    assert "heron" in html


def test_a_name_that_is_taken_is_said_and_stays_in_the_form(browser, bundle):
    answer = send(browser, bundle, name="birds")
    assert answer.status_code == 409
    assert "There is a learner of that name already" in answer.text
    assert 'value="birds"' in answer.text


@pytest.mark.parametrize(
    ("data", "name", "status", "said"),
    [
        (b"PK\x03\x04zip", "", 415, "This is no bundle that this release reads"),
        (b"\x00" * 2048, "", 422, "The file is damaged, or no bundle"),
        (b"x", "My Birds", 422, "For example: my-birds"),
        (b"", "", 422, "Choose the file of a bundle first"),
    ],
)
def test_what_is_none_is_refused_in_words(browser, client, data, name, status, said):
    answer = send(browser, data, name=name)
    assert (answer.status_code, said in answer.text) == (status, True), answer.text
    assert client.get("/v1/learners").json()["items"] == []


def test_a_broken_one_leaves_nothing(browser, client, bundle):
    answer = send(browser, bundle[: len(bundle) // 2])
    assert answer.status_code == 422
    assert [one["name"] for one in client.get("/v1/learners").json()["items"]] == ["birds"]


def test_a_form_without_a_file_is_told(browser):
    answer = browser.post(PAGE, files={"name": (None, "x")}, headers=OWN)
    assert answer.status_code == 422
    assert "Choose the file" in answer.text


def test_a_predictor_may_not(visitor, log_in, role_keys):
    log_in(role_keys["predictor"])
    assert visitor.get(PAGE).status_code == 403
    assert PAGE not in visitor.get("/admin").text
