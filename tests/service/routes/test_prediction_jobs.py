"""Prediction jobs over HTTP, with the thread that answers them and real images."""

import csv
import io
import json
import zipfile

import pytest

from registry import prediction_jobs
from registry.tables import PredictionJobRow
from service.use_cases import job_views
from service.use_cases import prediction_jobs as use_case
from tests.factories import make_image
from tests.service.api import give, predict
from tests.waiting import wait_until

LEARNER = "/v1/learners/birds"
JOBS = f"{LEARNER}/prediction-jobs"


def zipped(files):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return packed.getvalue()


def post_zip(client, files, query=""):
    return client.post(
        JOBS + query, content=zipped(files), headers={"Content-Type": "application/zip"}
    )


def done(client, answer):
    assert answer.status_code == 202, answer.text
    job = client.get(f"{answer.headers['Location']}?wait=30").json()
    assert job["status"] == "succeeded", job
    return job


def results(client, job, **params):
    answer = client.get(f"/v1/prediction-jobs/{job['id']}/results", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


@pytest.fixture
def later(client, taught, teach):
    """The same learner after it was taught one more class."""
    assert teach(("stork",))["status"] == "succeeded"
    return taught


def test_an_archive_is_answered_as_its_images_would_be_one_by_one(client, taught):
    images = {
        f"summer/{label}/{i}.png": make_image(label, 40 + i)
        for label in ("heron", "egret")
        for i in range(40)
    }
    job = done(client, post_zip(client, images | {"notes.txt": b"of the lake"}, "?top_k=2"))
    unknown = results(client, job, known=False)
    assert job["images"] == {
        "total": 80,
        "done": 80,
        "problems": 0,
        "unknown": len(unknown),
        "changed": 0,
    }
    assert job["labels"] == [{"label": "egret", "images": 40}, {"label": "heron", "images": 40}]
    assert (job["source"], job["version"], job["eta_seconds"]) == ("upload", 1, None)
    items = results(client, job, limit=200)
    assert [item["name"] for item in items] == list(images)
    alone = []
    for part in (items[:40], items[40:]):
        alone += predict(client, *(images[item["name"]] for item in part), top_k=2)[1]
    for item, one in zip(items, alone, strict=True):
        assert [top["label"] for top in item["top"]] == [top["label"] for top in one["top"]]
        assert item["score"] == pytest.approx(one["score"], abs=1e-5)
        assert item["novelty"] == pytest.approx(one["novelty"], abs=1e-5)
        assert item["known"] is one["known"]


def test_files_of_a_form_and_an_archive_in_a_form(client, taught):
    files = [("images", (f"{i}.png", make_image("heron", i), "image/png")) for i in range(3)]
    assert [
        item["name"] for item in results(client, done(client, client.post(JOBS, files=files)))
    ] == [
        "0.png",
        "1.png",
        "2.png",
    ]
    packed = [
        ("images", ("all.zip", zipped({"a/b.png": make_image("egret", 1)}), "application/zip"))
    ]
    [item] = results(client, done(client, client.post(JOBS, files=packed)))
    assert (item["name"], item["label"]) == ("a/b.png", "egret")


def test_what_cannot_be_used_is_named_and_the_others_are_answered(client, taught):
    files = {"a.png": make_image("heron", 50), "b.jpg": b"not an image", "c.png": b""}
    job = done(client, post_zip(client, files))
    assert job["images"] | {"unknown": 0} == {
        "total": 3,
        "done": 3,
        "problems": 2,
        "unknown": 0,
        "changed": 0,
    }
    good, *bad = results(client, job)
    assert good["label"] == "heron"
    assert [item["problem"]["code"] for item in bad] == ["image-format-unsupported", "image-empty"]
    assert all(item["label"] is None for item in bad)
    answer = post_zip(client, {"b.jpg": b"not an image"})
    assert (answer.status_code, answer.json()["code"]) == (422, "missing-image")
    assert post_zip(client, {"notes.txt": b"-"}).json()["code"] == "missing-image"


def test_stored_predictions_again_show_what_another_version_changes(client, later):
    stork = make_image("stork", 60)
    predict(client, stork, make_image("heron", 60), version=1)
    wait_until(lambda: client.get(f"{LEARNER}").json()["live_version"] == 2)
    job = done(client, client.post(JOBS, json={"predictions": {}}))
    assert job["version"] == 2
    assert job["images"]["changed"] == 1
    [changed] = results(client, job, changed=True)
    assert changed["label"] == "stork"
    assert changed["before"]["label"] != "stork"
    assert changed["before"]["version"] == 1
    [same] = results(client, job, changed=False)
    assert (same["label"], same["before"]["label"]) == ("heron", "heron")
    image = client.get(f"/v1/prediction-jobs/{job['id']}/images/{changed['index']}")
    kept = client.get(
        f"/v1/predictions/{changed['prediction']}/images/{changed['prediction_index']}"
    )
    assert image.content == kept.content
    back = done(client, client.post(f"{JOBS}?version=1", json={"predictions": {}}))
    assert back["images"]["changed"] == 0


def test_queries_over_predictions(client, taught):
    first, _ = predict(client, make_image("heron", 60), make_image("egret", 61))
    second, _ = predict(client, make_image("egret", 62))
    give(client, first, "bittern", 1)
    client.patch(f"{LEARNER}/classes/egret", json={"name": "White heron"})

    def found(**query):
        answer = client.post(JOBS, json={"predictions": query})
        if answer.status_code == 409:
            assert answer.json()["code"] == "nothing-to-predict"
            return []
        items = results(client, done(client, answer))
        return [(item["prediction"], item["prediction_index"]) for item in items]

    assert found() == [(second, 0), (first, 0), (first, 1)]
    assert found(label="White heron") == [(second, 0), (first, 1)]
    assert found(label="heron") == [(first, 0)]
    assert found(feedback=True) == [(first, 1)]
    assert found(feedback=False) == [(second, 0), (first, 0)]
    assert found(known=True) == found()
    assert found(known=False) == []
    assert found(version=2) == []
    assert found(since="2199-01-01T00:00:00Z") == []
    assert found(until="2199-01-01T00:00:00Z") == found()
    listed = [{"prediction": first, "index": 1}, {"prediction": second}]
    items = results(client, done(client, client.post(JOBS, json={"images": listed})))
    assert [item["label"] for item in items] == ["White heron"] * 2
    assert items[0]["before"]["label"] == "White heron"


def test_samples_are_answered_beside_what_they_are_taught_as(client, later):
    job = done(client, client.post(JOBS, json={"samples": {}}))
    assert (job["source"], job["images"]["total"]) == ("samples", 18)
    items = results(client, job)
    assert all(item["sample"].startswith("smp_") for item in items)
    assert all(item["changed"] is (item["label"] != item["before"]["label"]) for item in items)
    held_out = done(client, client.post(JOBS, json={"samples": {"split": "eval", "task": 1}}))
    assert held_out["images"]["total"] == 2
    assert held_out["query"] == {"samples": {"split": "eval", "task": 1}}
    some = [{"sample": item["sample"]} for item in items[:2]]
    picked = results(client, done(client, client.post(JOBS, json={"images": some})))
    assert [item["sample"] for item in picked] == [item["sample"] for item in items[:2]]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"predictions": {}, "samples": {}},
        {"predictions": {"colour": "red"}},
        {"predictions": {"since": "yesterday"}},
        {"predictions": {"label": ""}},
        {"images": []},
        {"images": [{}]},
        {"images": [{"sample": "smp_00000000", "prediction": "prd_00000000"}]},
        {"images": [{"sample": "smp_00000000"}, {"prediction": "prd_00000000"}]},
        {"images": [{"prediction": "prd_00000000", "index": -1}]},
        [],
    ],
)
def test_a_question_that_makes_no_sense(client, taught, body):
    answer = client.post(JOBS, json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "validation"), answer.text


def test_what_there_is_nothing_to_ask_of(client, birds, role_keys):
    assert client.post(JOBS, json={"samples": {}}).json()["code"] == "nothing-learned"
    assert post_zip(client, {"a.png": make_image("heron", 1)}).json()["code"] == "nothing-learned"
    nobody = client.post("/v1/learners/nobody/prediction-jobs", json={"samples": {}})
    assert nobody.json()["code"] == "learner-not-found"
    assert (
        client.get("/v1/prediction-jobs/job_00000000").json()["code"] == "prediction-job-not-found"
    )
    text = client.post(JOBS, content=b"x", headers={"Content-Type": "text/plain"})
    assert text.status_code == 415
    reader = {"Authorization": f"Bearer {role_keys['reader']}"}
    assert client.post(JOBS, json={"samples": {}}, headers=reader).status_code == 403


def test_another_version_must_be_there(client, taught):
    answer = client.post(f"{JOBS}?version=9", json={"samples": {}})
    assert (answer.status_code, answer.json()["code"]) == (404, "version-not-found")


def test_results_as_lines_and_as_a_table(client, taught):
    files = {"=cmd|' /C calc'!A0.png": make_image("heron", 50), "b.png": b"not an image"}
    job = done(client, post_zip(client, files))
    url = f"/v1/prediction-jobs/{job['id']}/results"
    lines = client.get(url, params={"format": "jsonl"})
    assert lines.headers["content-type"] == "application/x-ndjson"
    first, second = (json.loads(line) for line in lines.text.splitlines())
    assert first == {k: v for k, v in results(client, job)[0].items() if v is not None}
    assert second["problem"]["code"] == "image-format-unsupported"
    table = client.get(url, headers={"Accept": "text/csv"})
    assert f'filename="birds-{job["id"]}.csv"' in table.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(table.text)))
    assert rows[0]["name"].startswith("'=cmd")
    assert (rows[0]["label"], rows[0]["known"], rows[0]["version"]) == (
        "heron",
        str(first["known"]).lower(),
        "1",
    )
    assert float(rows[0]["score"]) == pytest.approx(first["score"])
    assert (rows[1]["label"], rows[1]["problem"]) == ("", "image-format-unsupported")
    known = client.get(url, params={"format": "csv", "label": "egret"})
    assert len(known.text.splitlines()) == 1
    assert client.get(url, headers={"Accept": "image/png"}).status_code == 406


def test_results_in_pages_and_in_one_stream(client, taught, monkeypatch):
    files = {f"{i:02}.png": make_image("heron", i) for i in range(7)}
    job = done(client, post_zip(client, files))
    url = f"/v1/prediction-jobs/{job['id']}/results"
    seen, link = [], f"{url}?limit=3"
    while link:
        page = client.get(link)
        seen += [item["name"] for item in page.json()["items"]]
        link = page.links.get("next", {}).get("url")
    assert seen == list(files)
    monkeypatch.setattr(job_views, "PAGE", 3)
    lines = client.get(url, params={"format": "jsonl"}).text.splitlines()
    assert [json.loads(line)["name"] for line in lines] == list(files)


def test_the_same_request_twice_is_one_job(client, taught):
    headers = {"Idempotency-Key": "once"}
    first, second = (client.post(JOBS, json={"samples": {}}, headers=headers) for _ in range(2))
    assert first.json()["id"] == second.json()["id"]
    assert len(client.get(JOBS).json()["items"]) == 1
    files = [("images", ("a.png", make_image("heron", 1), "image/png"))]
    headers = {"Idempotency-Key": "again"}
    first, second = (client.post(JOBS, files=files, headers=headers) for _ in range(2))
    assert first.json()["id"] == second.json()["id"]


def test_newest_first_in_pages(client, taught):
    ids = [done(client, client.post(JOBS, json={"samples": {}}))["id"] for _ in range(3)]
    first = client.get(JOBS, params={"limit": 2})
    assert [job["id"] for job in first.json()["items"]] == ids[:0:-1]
    assert [job["id"] for job in client.get(first.links["next"]["url"]).json()["items"]] == ids[:1]


def test_deleting_takes_results_and_images(client, taught):
    job = done(client, post_zip(client, {"a.png": make_image("heron", 1)}))
    url = f"/v1/prediction-jobs/{job['id']}"
    assert client.get(f"{url}/images/0").headers["content-type"] == "image/png"
    assert client.get(f"{url}/images/1").json()["code"] == "prediction-job-image-not-found"
    assert client.post(f"{url}/cancel").json()["code"] == "prediction-job-ended"
    assert client.delete(url).status_code == 204
    assert {client.get(url + path).status_code for path in ("", "/results", "/images/0")} == {404}
    actions = [entry["action"] for entry in client.get("/v1/audit").json()["items"]]
    assert actions[:2] == ["prediction_job.delete", "prediction_job.create"]


def test_one_that_waits_is_cancelled_and_a_key_may_have_so_many(
    client, app, taught, session_factory, monkeypatch
):
    app.state.context.jobs.stop()
    job = client.post(JOBS, json={"samples": {}}).json()
    assert (job["status"], job["images"]["done"]) == ("queued", 0)
    monkeypatch.setattr(use_case, "MAX_UNFINISHED", 1)
    refused = client.post(JOBS, json={"samples": {}})
    assert (refused.status_code, refused.json()["code"]) == (429, "rate-limited")
    cancelled = client.post(f"/v1/prediction-jobs/{job['id']}/cancel").json()
    assert cancelled["status"] == "cancelled"
    assert cancelled["finished_at"] is not None
    with session_factory.begin() as session:
        assert prediction_jobs.claim_next(session, 60) is None
    assert client.post(JOBS, json={"samples": {}}).status_code == 202


def test_images_go_where_predictions_keep_none(client, app, taught, session_factory):
    app.state.context.jobs._keeps_images = False
    job = done(client, post_zip(client, {"a.png": make_image("heron", 1)}))
    answer = client.get(f"/v1/prediction-jobs/{job['id']}/images/0")
    assert answer.json()["code"] == "prediction-job-image-not-found"


def test_hidden_classes_are_not_answered(client, taught):
    client.patch(f"{LEARNER}/classes/egret", json={"hidden": True})
    job = done(client, client.post(JOBS, json={"samples": {}}))
    assert job["labels"] == [{"label": "heron", "images": 12}]


def test_a_deleted_learner_takes_its_jobs(client, taught, session_factory):
    done(client, client.post(JOBS, json={"samples": {}}))
    assert client.delete(f"{LEARNER}?confirm=birds").status_code in (200, 204)
    with session_factory() as session:
        assert session.query(PredictionJobRow).count() == 0
