"""The page that says why an image was answered so."""

from sqlalchemy import delete

from registry.tables import PredictionImageRow
from service.dashboard.why_pages import ERASED, NOT_KEPT
from tests.factories import make_image
from tests.service.api import predict, version_of
from tests.waiting import wait_until


def page_of(browser, prediction_id, index=0):
    return browser.get(f"/admin/predictions/{prediction_id}/images/{index}/why")


def test_a_page_says_why_and_shows_the_image(client, browser, taught):
    prediction_id, [result] = predict(client, make_image("egret", 50))
    answer = page_of(browser, prediction_id)
    assert answer.status_code == 200
    assert f"Why {result['label']}?" in answer.text
    assert f"/admin/predictions/{prediction_id}/images/0" in answer.text
    assert "Version 1 answers egret with" in answer.text
    assert "known images look more familiar" in answer.text
    review = browser.get("/admin/learners/birds/review?show=all").text
    assert f"/admin/predictions/{prediction_id}/images/0/why" in review


def test_the_tried_image_has_the_same_section(client, taught):
    form = {"image": ("a.png", make_image("egret", 50), "image/png")}
    text = client.post("/admin/learners/birds/try", files=form).text
    assert "Why this answer" in text
    assert "This strategy has no synapses" in text


def test_an_older_version_than_the_live_one_is_named(client, browser, taught, teach):
    prediction_id, _ = predict(client, make_image("egret", 50))
    assert teach(("stork",))["status"] == "succeeded"
    wait_until(lambda: version_of(client, "birds") == 2)
    text = page_of(browser, prediction_id).text
    assert "This is what version 1 says, which answered. Version 2 is live now" in text


def test_what_cannot_be_asked_again_is_still_shown(client, browser, taught, learn):
    prediction_id, [result] = predict(client, make_image("egret", 50))
    answer = client.post("/v1/learners/birds/unlearn", json={"classes": ["heron"]})
    learn(answer.json()["id"])
    wait_until(lambda: version_of(client, "birds") == 2)
    wait_until(lambda: ERASED in page_of(browser, prediction_id).text)
    assert f"Why {result['label']}?" in page_of(browser, prediction_id).text


def test_without_its_image_an_answer_is_shown_alone(client, browser, taught, session):
    prediction_id, [result] = predict(client, make_image("egret", 50))
    assert NOT_KEPT not in page_of(browser, prediction_id).text
    assert page_of(browser, prediction_id, 5).status_code == 404
    session.execute(delete(PredictionImageRow))
    session.commit()
    text = page_of(browser, prediction_id).text
    assert NOT_KEPT in text
    assert f"Why {result['label']}?" in text


def test_a_reader_sees_no_link_and_no_page(client, visitor, log_in, role_keys, taught):
    prediction_id, _ = predict(client, make_image("egret", 50))
    log_in(role_keys["reader"])
    assert "/why" not in visitor.get("/admin/learners/birds/review?show=all").text
    assert page_of(visitor, prediction_id).status_code == 403


def test_the_map_is_a_picture_that_runs_nothing(client, browser, taught):
    prediction_id, _ = predict(client, make_image("egret", 50))
    answer = browser.get(f"/admin/predictions/{prediction_id}/images/0/heat.png")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/png")
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert answer.headers["Cache-Control"].startswith("private")
