"""What every answer of the dashboard says to a browser about how it may be used."""

import pytest

from registry import deliveries, learners, stored_images, tasks
from registry.samples import list_samples
from registry.tables import TAUGHT
from tests.factories import keep_images, make_image, make_job, make_subscription
from tests.service.dashboard.routes_of import pages

OWN = {"Sec-Fetch-Site": "same-origin"}
POLICY = {
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "frame-ancestors 'none'",
    "base-uri 'none'",
    "form-action 'self'",
    "connect-src 'self'",
}
PUBLIC = {"/admin/static/{name}"}


ASKS_A_VERSION = {"/admin/predictions/{prediction_id}/images/{index}/heat.png"}
"""What is made by a version's artifact, which the learner of these tests has none of: see `test_why_pages.py`."""
CAMERA = {"/admin/learners/{name}/teach": "camera=(self)"}
"""Pages on which photos may be taken; nothing may on others."""


def check(answer, *, is_image=False, camera="camera=()"):
    headers = answer.headers
    policy = {part.strip() for part in headers["Content-Security-Policy"].split(";")}
    if is_image:
        assert {"default-src 'none'", "frame-ancestors 'none'", "sandbox"} <= policy
    else:
        assert policy >= POLICY
        assert not any(word in headers["Content-Security-Policy"] for word in ("unsafe", "http"))
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] in {"same-origin", "no-referrer"}
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert camera in headers["Permissions-Policy"]
    assert "geolocation=(), microphone=()" in headers["Permissions-Policy"]
    assert "Access-Control-Allow-Origin" not in headers


@pytest.fixture
def filled(session, blobs, three):
    """Return what to put into the addresses' templates."""
    task = tasks.list_tasks(session).items[0]
    sample = list_samples(session, task.id).items[0]
    learner = learners.get_learner(session, three)
    taught = stored_images.pick_taught(session, learner.id, [sample.id])
    job = make_job(session, blobs, learner, taught, source=TAUGHT)
    kept = keep_images(session, blobs, learner, ("stork",))
    told = make_subscription(session)
    deliveries.add_test(session, told)
    session.commit()
    return {
        "subscription_id": told.id,
        "prediction_id": kept,
        "job_id": job.id,
        "index": "0",
        "name": three,
        "number": "1",
        "sample_id": sample.id,
        "task_id": task.id,
        "label:path": "heron",
        "path:path": "nowhere",
    }


def test_every_page_has_them_and_is_kept_by_nobody(app, browser, filled):
    for template in set(pages(app)) - ASKS_A_VERSION:
        path = template
        for name, value in filled.items():
            path = path.replace(f"{{{name}}}", value)
        if template in PUBLIC:
            path = "/admin/static/dashboard.css"
        answer = browser.get(path)
        assert answer.status_code == (404 if path.endswith("nowhere") else 200), path
        is_image = template.endswith(("/image", "/images/{index}"))
        check(answer, is_image=is_image, camera=CAMERA.get(template, "camera=()"))
        cached = answer.headers["Cache-Control"]
        if template in PUBLIC:
            assert cached.startswith("public")
        elif is_image:
            assert cached.startswith("private")
        else:
            assert cached == "no-store", path


def test_answers_to_forms_refusals_and_redirects_have_them_too(browser, visitor, three):
    files = {"image": ("a.png", make_image(), "image/png")}
    answers = [
        browser.post("/admin/keys", data={"name": "x", "role": "reader"}, headers=OWN),
        browser.post("/admin/keys", data={"name": ""}, headers=OWN),
        browser.post(f"/admin/learners/{three}/try", files=files, headers=OWN),
        browser.post("/admin/keys", headers={"Sec-Fetch-Site": "cross-site"}),
        browser.post("/admin/logout", headers=OWN),
        visitor.get("/admin/keys"),
        visitor.get("/admin/login"),
    ]
    assert [answer.status_code for answer in answers][0:2] == [201, 422]
    assert [answer.status_code for answer in answers][3:] == [403, 303, 303, 200]
    for answer in answers:
        check(answer)
        assert answer.headers["Cache-Control"] == "no-store"


def test_other_origins_are_promised_nothing(browser):
    answer = browser.options(
        "/admin/keys",
        headers={"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"},
    )
    assert not any(name.lower().startswith("access-control") for name in answer.headers)
