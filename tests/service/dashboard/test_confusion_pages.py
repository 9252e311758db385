"""Which classes a version confuses, on pages."""

import pytest

from tests.factories import make_image
from tests.service.api import give, predict
from tests.service.dashboard.published import publish_task

PAGE = "/admin/learners/birds/versions/{}/confusion"
MEASURED = {"1": {"heron": {"heron": 30, "egret": 10}, "egret": {"egret": 39, "heron": 1}}}


@pytest.fixture
def confused(session, blobs, three):
    """A learner whose fourth version takes herons for egrets."""
    publish_task(session, blobs, three, ("rail",), [0.9] * 4, metrics={"confusion": MEASURED})
    return three


def test_the_most_confused_pair_comes_first_and_leads_to_its_images(browser, confused):
    text = browser.get(PAGE.format(4)).text
    assert text.index("<td>heron</td><td>egret</td>") < text.index("<td>egret</td><td>heron</td>")
    assert "confusion/images?true=heron&amp;answered=egret" in text
    assert "10 of 40 images of heron answered egret" in text
    assert PAGE.format(4) in browser.get("/admin/learners/birds/versions/4").text
    narrowed = browser.get(PAGE.format(4), params={"label": "egret"}).text
    assert "those confused with egret" in narrowed
    unknown = browser.get(PAGE.format(4), params={"label": "<nobody>"}).text
    assert "knows no class of that name" in unknown
    assert "<nobody>" not in unknown


def test_a_version_that_was_not_measured_says_so(browser, three):
    assert "Nothing was measured yet" in browser.get(PAGE.format(1)).text
    assert browser.get(PAGE.format(9)).status_code == 404


def test_images_behind_a_cell(client, browser, taught):
    prediction, [result] = predict(client, make_image("egret", 50))
    assert give(client, prediction, "heron").status_code in (200, 201)
    asked = {"true": "heron", "answered": result["label"]}
    text = browser.get(f"{PAGE.format(1)}/images", params=asked).text
    assert "Named by people" in text
    assert f"/admin/predictions/{prediction}/images/0/why" in text
    right = browser.get(f"{PAGE.format(1)}/images", params={"true": "heron", "answered": "heron"})
    assert "heron, answered right" in right.text


def test_a_reader_sees_counts_and_no_images(confused, visitor, log_in, role_keys):
    log_in(role_keys["reader"])
    text = visitor.get(PAGE.format(4)).text
    assert "<td>heron</td><td>egret</td>" in text
    assert "confusion/images" not in text
    asked = {"true": "heron", "answered": "egret"}
    assert visitor.get(f"{PAGE.format(4)}/images", params=asked).status_code == 403
