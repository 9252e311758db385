"""Prediction jobs in the browser: posted, followed, looked at, deleted."""

import re

import pytest

from service.dashboard import job_pages
from tests.factories import make_image
from tests.service.api import predict
from tests.waiting import wait_until

OWN = {"Sec-Fetch-Site": "same-origin"}
JOBS = "/admin/learners/birds/jobs"


@pytest.fixture
def later(client, taught, teach):
    """A learner whose second version knows storks, and that was asked about one before."""
    predict(client, make_image("stork", 60), make_image("heron", 60))
    assert teach(("stork",))["status"] == "succeeded"
    wait_until(lambda: client.get("/v1/learners/birds").json()["live_version"] == 2)
    return taught


def post(browser, path, **options):
    answer = browser.post(path, headers=OWN, **options)
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def ended(client, page):
    job = client.get(f"/v1/prediction-jobs/{page.rpartition('/')[2]}?wait=30").json()
    assert job["status"] == "succeeded"
    return job


def titles(text):
    return [
        " ".join(re.sub("<[^>]*>", "", title).split())
        for title in re.findall("<h3>(.*?)</h3>", text)
    ]


def test_what_another_version_changes_is_shown_first(client, browser, later):
    page = post(browser, JOBS, data={"source": "predictions", "version": "2"})
    ended(client, page)
    text = browser.get(page).text
    [changed] = titles(text)
    assert changed.endswith("→ stork")
    assert "before" in text
    assert "by version 1" in text
    assert len(titles(browser.get(f"{page}?show=all").text)) == 2
    assert "All look like a class" in browser.get(f"{page}?show=unknown").text or titles(
        browser.get(f"{page}?show=unknown").text
    )
    image = re.search(r'src="(/admin/jobs/[^"]*)"', text)[1]
    assert browser.get(image).headers["content-type"] == "image/png"
    listed = browser.get(JOBS).text
    assert page in listed
    assert "Images of predictions" in listed


def test_what_changes_nothing_says_so(client, browser, later):
    page = post(browser, JOBS, data={"source": "samples"})
    job = ended(client, page)
    changed = browser.get(f"{page}?show=changed").text
    assert len(titles(changed)) == job["images"]["changed"]
    assert "Other than taught" in changed
    unknown = post(browser, JOBS, data={"source": "predictions", "version": "1"})
    ended(client, unknown)
    assert "Nothing is answered otherwise" in browser.get(f"{unknown}?show=changed").text


def test_images_are_uploaded_and_come_in_pages(client, browser, taught, monkeypatch):
    monkeypatch.setattr(job_pages, "ON_A_PAGE", 2)
    hostile = "<script>alert(1)</script>.png"
    files = [
        ("images", (name, make_image("heron", i), "image/png"))
        for i, name in enumerate((hostile, "b.png", "c.png"))
    ]
    files.append(("images", ("d.png", b"no image", "image/png")))
    page = post(browser, f"{JOBS}/upload", files=files)
    assert ended(client, page)["images"]["problems"] == 1
    first = browser.get(page).text
    assert titles(first) == ["heron", "heron"]
    assert "<script>alert" not in first
    cursor = re.search(r"cursor=([\w-]+)", first)[1]
    assert titles(browser.get(f"{page}?show=all&cursor={cursor}").text) == [
        "heron",
        "Not predicted",
    ]
    assert "format=csv" in first


@pytest.mark.parametrize(
    ("files", "code"),
    [
        ([("images", ("a.png", b"no image", "image/png"))], "missing-image"),
        ([("other", ("a.png", make_image("heron"), "image/png"))], "validation"),
    ],
)
def test_an_upload_that_cannot_be_used_leads_back_with_a_sentence(browser, taught, files, code):
    target = post(browser, f"{JOBS}/upload", files=files)
    assert target.startswith(f"{JOBS}?problem=")
    assert 'role="alert"' in browser.get(target).text


def test_nothing_stored_leads_back_with_a_sentence(browser, taught):
    target = post(browser, JOBS, data={"source": "unknown"})
    assert target == f"{JOBS}?problem=nothing-to-predict"
    assert "No image is stored that this asks for." in browser.get(target).text


def test_one_that_waits_is_followed_stopped_and_deleted(app, browser, taught):
    app.state.context.jobs.stop()
    page = post(browser, JOBS, data={"source": "samples"})
    [moving] = browser.get(f"{page}/live.json").json()["tasks"]
    assert (moving["status"], moving["fraction"], moving["phase"]) == ("queued", 0, "waiting")
    assert moving["note"] == "0 of 12 images"
    text = browser.get(page).text
    assert "Stop it" in text
    assert "Delete the job" not in text
    assert post(browser, f"{page}/cancel") == page
    assert browser.get(f"{page}/live.json").json() == {"tasks": []}
    again = post(browser, f"{page}/cancel")
    assert 'role="alert"' in browser.get(again).text
    assert post(browser, f"{page}/delete") == f"{JOBS}?done=job-deleted"
    assert browser.get(page).status_code == 404


def test_a_failed_one_says_why(app, client, browser, taught):
    for label in ("heron", "egret"):
        client.patch(f"/v1/learners/birds/classes/{label}", json={"hidden": True})
    page = post(browser, JOBS, data={"source": "samples"})
    client.get(f"/v1/prediction-jobs/{page.rpartition('/')[2]}?wait=30")
    assert "All classes" in browser.get(page).text or "hidden" in browser.get(page).text


def test_before_the_first_version_there_is_nothing_to_choose(browser, birds):
    text = browser.get(JOBS).text
    assert "Nothing to predict with yet" in text
    assert "<form" not in text.partition("<main")[2]


def test_a_reader_looks_and_changes_nothing(client, log_in, visitor, role_keys, taught):
    answer = client.post("/v1/learners/birds/prediction-jobs", json={"samples": {}}).json()
    client.get(f"/v1/prediction-jobs/{answer['id']}?wait=30")
    log_in(role_keys["reader"])
    for path in (JOBS, f"/admin/jobs/{answer['id']}", "/admin/learners/birds/versions/1"):
        text = visitor.get(path).text
        assert "Predict them" not in text
        assert "Delete the job" not in text
    refused = visitor.post(JOBS, data={"source": "samples"}, headers=OWN)
    assert refused.status_code == 403


def test_a_version_offers_to_be_tried_on_what_is_stored(client, browser, later):
    text = browser.get("/admin/learners/birds/versions/1").text
    assert "What would it change?" in text
    assert "What has it changed?" in browser.get("/admin/learners/birds/versions/2").text
    chosen = browser.get(f"{JOBS}?version=1").text
    assert '<option value="1" selected>version 1' in chosen
