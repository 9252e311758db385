"""The dashboard as a browser meets it: pages, login, forms."""

import re

import pytest

from registry import queue, tasks, workers
from registry.versions import NewAccuracy
from service.http.security import COOKIE
from tests.factories import make_image, make_learner, make_task
from tests.factories import publish_task as publish
from tests.service.dashboard.published import publish_task

OWN = {"Sec-Fetch-Site": "same-origin"}
PAYLOAD = "<img src=x onerror=alert(1)>"


@pytest.fixture
def published(session, blobs):
    make_learner(session, "birds")
    publish_task(session, blobs, "birds", ("heron", PAYLOAD), [0.9])
    publish_task(session, blobs, "birds", ("stork",), [0.8, 1.0])
    return "birds"


class TestSession:
    def test_without_a_session_the_login_page_comes_and_leads_back(self, visitor):
        answer = visitor.get("/admin/tasks?cursor=abc")
        assert answer.status_code == 303
        assert answer.headers["Location"] == "/admin/login?next=/admin/tasks%3Fcursor%3Dabc"
        assert 'value="/admin/tasks?cursor=abc"' in visitor.get(answer.headers["Location"]).text

    def test_a_program_gets_a_problem_instead(self, visitor):
        answer = visitor.get("/admin/tasks.json", headers={"Accept": "application/json"})
        assert answer.status_code == 401
        assert answer.json()["code"] == "unauthorized"

    def test_a_key_opens_a_session(self, visitor, log_in, role_keys):
        answer = log_in(role_keys["reader"], next="/admin/tasks")
        assert (answer.status_code, answer.headers["Location"]) == (303, "/admin/tasks")
        cookie = answer.headers["Set-Cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert role_keys["reader"] not in cookie
        assert visitor.get("/admin").status_code == 200

    @pytest.mark.parametrize("key", ["nonsense", "fil_abc_def", ""])
    def test_a_wrong_key_does_not(self, visitor, log_in, key):
        answer = log_in(key)
        assert answer.status_code == 401
        assert COOKIE not in visitor.cookies
        assert "not a valid key" in answer.text

    def test_logging_out_forgets_the_session(self, browser):
        assert browser.post("/admin/logout", headers=OWN).headers["Location"] == "/admin/login"
        assert browser.get("/admin").status_code == 303

    @pytest.mark.parametrize(
        "target", ["//evil.example", "https://evil.example/admin", "/v1/keys", "/admin/..//x"]
    )
    def test_a_login_never_leads_to_another_site(self, visitor, log_in, role_keys, target):
        answer = log_in(role_keys["admin"], next=target)
        assert answer.headers["Location"] == "/admin"

    def test_another_site_cannot_log_a_browser_in(self, visitor, role_keys):
        answer = visitor.post(
            "/admin/login",
            data={"key": role_keys["admin"]},
            headers={"Sec-Fetch-Site": "cross-site"},
        )
        assert answer.status_code == 403
        assert COOKIE not in visitor.cookies


class TestPages:
    def test_the_first_page_says_how_to_begin(self, browser):
        assert "No learner yet" in browser.get("/admin").text

    def test_learners_are_listed_with_their_numbers(self, browser, published):
        html = browser.get("/admin").text
        assert 'href="/admin/learners/birds"' in html
        assert "85.0%" in html or "90.0%" in html

    def test_a_learner_page_has_its_figures_and_tables(self, browser, published):
        html = browser.get("/admin/learners/birds").text
        assert 'data-plot="lines"' in html
        assert 'data-plot="matrix"' in html
        assert "Live version" in html

    def test_labels_are_text_never_markup(self, browser, published):
        html = browser.get("/admin/learners/birds").text
        assert "<img src=x" not in html
        assert "&lt;img src=x" in html

    def test_a_new_learner_has_no_figures(self, browser, session):
        make_learner(session, "fresh")
        session.commit()
        html = browser.get("/admin/learners/fresh").text
        assert "Nothing learned yet" in html
        assert "data-plot" not in html

    @pytest.mark.parametrize(
        "path", ["/admin/learners/nobody", "/admin/learners/%00", "/admin/xyz"]
    )
    def test_what_is_not_there_has_a_page_that_says_so(self, browser, path):
        answer = browser.get(path)
        assert answer.status_code == 404
        assert "To the learners" in answer.text

    def test_pages_hold_no_inline_script_or_style(self, browser, published):
        for path in (
            "/admin",
            "/admin/learners/birds",
            "/admin/tasks",
            "/admin/learners/birds/try",
        ):
            html = browser.get(path).text
            assert re.search(r"\sstyle=|\son\w+=\"|<style", html) is None
            scripts = re.findall(r"<script[^>]*>", html)
            assert all("src=" in tag or "application/json" in tag for tag in scripts)

    def test_pages_may_load_nothing_from_elsewhere(self, browser):
        policy = browser.get("/admin").headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy

    def test_a_readers_page_has_no_buttons_that_change_something(
        self, visitor, log_in, role_keys, session, blobs
    ):
        make_learner(session)
        make_task(session, blobs)
        session.commit()
        log_in(role_keys["reader"])
        html = visitor.get("/admin/tasks").text
        assert "heron" in html
        assert "/cancel" not in html


class TestAssets:
    def test_they_are_public_compressed_and_kept(self, visitor):
        answer = visitor.get("/admin/static/plotly.min.js", headers={"Accept-Encoding": "gzip"})
        assert answer.headers["Content-Encoding"] == "gzip"
        assert "immutable" in answer.headers["Cache-Control"]
        assert b"plotly.js v" in answer.content[:200]

    @pytest.mark.parametrize("name", ["nothing.js", "..%2froutes.py", "base.html"])
    def test_only_assets_are_served(self, visitor, name):
        assert visitor.get(f"/admin/static/{name}").status_code in {303, 404}


class TestTasks:
    @pytest.fixture
    def task(self, session, blobs):
        make_learner(session)
        row = make_task(session, blobs)
        session.commit()
        return row.id

    def test_progress_is_there_for_the_page_to_follow(self, browser, session, task):
        claimed = queue.claim_next(session, "tests", 30)
        progress = {"phase": "training", "fraction": 0.5, "epoch": 1, "epochs": 2}
        queue.update_progress(session, task, claimed.token, progress)
        session.commit()
        [shown] = browser.get("/admin/tasks.json?learner=birds").json()["tasks"]
        assert shown == {
            "id": task,
            "status": "running",
            "phase": "training",
            "fraction": 0.5,
            "note": "epoch 1 of 2",
        }

    def test_cancel_and_retry(self, browser, session, task):
        back = {"Referer": "http://testserver/admin/learners/birds", **OWN}
        answer = browser.post(f"/admin/tasks/{task}/cancel", headers=back)
        assert (answer.status_code, answer.headers["Location"]) == (303, "/admin/learners/birds")
        assert tasks.get_task(session, task).status == "cancelled"
        session.rollback()
        assert browser.post(f"/admin/tasks/{task}/retry", headers=OWN).status_code == 303
        assert tasks.get_task(session, task).status == "queued"

    def test_cancelling_what_has_ended_says_so_on_the_page(self, browser, session, task):
        tasks.request_cancel(session, task)
        session.commit()
        answer = browser.post(f"/admin/tasks/{task}/cancel", headers=OWN)
        assert answer.headers["Location"] == "/admin/tasks?problem=task-ended"
        html = browser.get(answer.headers["Location"]).text
        assert "Only a task that is queued or running" in html

    def test_a_made_up_problem_says_nothing(self, browser):
        assert "evil" not in browser.get("/admin/tasks?problem=evil").text

    @pytest.mark.parametrize(
        "headers",
        [
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {},
        ],
    )
    def test_another_site_can_change_nothing(self, browser, session, task, headers):
        answer = browser.post(f"/admin/tasks/{task}/cancel", headers=headers)
        assert answer.status_code == 403
        assert tasks.get_task(session, task).status == "queued"

    def test_a_reader_can_change_nothing(self, visitor, log_in, role_keys, session, task):
        log_in(role_keys["reader"])
        assert visitor.post(f"/admin/tasks/{task}/cancel", headers=OWN).status_code == 403
        assert tasks.get_task(session, task).status == "queued"


class TestTrying:
    def test_an_uploaded_image_gets_an_answer_and_its_route(self, browser, taught):
        files = {"image": ("a.png", make_image("heron", 99), "image/png")}
        answer = browser.post(f"/admin/learners/{taught}/try", files=files, headers=OWN)
        assert answer.status_code == 200
        assert re.search(r'answer-label">\s*heron', answer.text)
        assert "data:image/png;base64," in answer.text
        assert "Route" in answer.text

    def test_a_held_out_image_is_judged(self, browser, taught):
        html = browser.get(f"/admin/learners/{taught}/try").text
        sample = re.search(r'value="(smp_[0-9a-z]+)"', html).group(1)
        image = browser.get(f"/admin/samples/{sample}/image")
        assert image.headers["Content-Type"] == "image/png"
        answer = browser.post(f"/admin/learners/{taught}/try", data={"sample": sample}, headers=OWN)
        assert "it was uploaded as" in answer.text
        assert "is-chosen" in answer.text

    @pytest.mark.parametrize(
        ("data", "status"),
        [(b"no image, just text", 415), (b"", 422), (make_image("heron")[:200], 422)],
    )
    def test_an_unusable_image_is_explained_on_the_page(self, browser, taught, data, status):
        files = {"image": ("a.png", data, "image/png")}
        answer = browser.post(f"/admin/learners/{taught}/try", files=files, headers=OWN)
        assert answer.status_code == status
        assert 'role="alert"' in answer.text

    def test_nothing_chosen_is_explained_too(self, browser, taught):
        answer = browser.post(f"/admin/learners/{taught}/try", headers=OWN)
        assert answer.status_code == 422
        assert "Choose an image first" in answer.text

    def test_a_learner_that_knows_nothing_says_so(self, browser, session):
        make_learner(session, "fresh")
        session.commit()
        files = {"image": ("a.png", make_image(), "image/png")}
        answer = browser.post("/admin/learners/fresh/try", files=files, headers=OWN)
        assert answer.status_code == 409


class TestWorkers:
    def test_the_tasks_page_says_when_nobody_learns(self, browser):
        assert "No worker was seen" in browser.get("/admin/tasks").text

    def test_the_tasks_page_shows_who_learns_what(self, browser, session, blobs):
        workers.announce(
            session, "gpu-1", kind="celery", host="box", pid=7, device=PAYLOAD, slots=1, version="0"
        )
        make_learner(session, "birds")
        task = make_task(session, blobs)
        session.commit()
        queue.claim(session, task.id, "gpu-1", 30)
        session.commit()
        html = browser.get("/admin/tasks").text
        assert "birds: heron and egret" in html
        assert "pill-learning" in html
        assert PAYLOAD not in html


class TestUncertainty:
    def test_each_accuracy_has_its_interval_and_its_number_of_images(self, browser, published):
        html = " ".join(browser.get("/admin/learners/birds").text.split())
        assert 'title="95% interval 70 to 97%, of 20 images held out"><dt>Last</dt>' in html
        assert "<dd>90.0% <small>70 to 97%, of 20</small>" in html
        assert '<dd>10.0% <small>-24 to 42%, of 10</small><small class="few">too few' in html
        assert '80.0% <small class="below few">too few: 10</small>' in html
        assert "They were held out." in html

    def test_too_few_images_to_tell_are_called_so(self, browser, session, blobs):
        make_learner(session, "birds")
        measured = [NewAccuracy(1, 0, 0, 0, 0, 0.0, 10, 6)]
        publish(session, make_task(session, blobs), accuracies=measured)
        session.commit()
        for path in ("/admin", "/admin/learners/birds", "/admin/learners/birds/versions/1"):
            html = browser.get(path).text
            assert '<small class="few">too few to tell</small>' in html
            assert "31 to 83%, of 10" in html
        html = browser.get("/admin/learners/birds").text
        assert "They were left out in turn: an image left out in turn is learned from" in html

    def test_a_class_has_them_too(self, browser, session, blobs):
        make_learner(session, "birds")
        metrics = {"confusion": {"1": {"heron": {"heron": 6, "egret": 4}}}}
        publish(session, make_task(session, blobs), metrics=metrics)
        session.commit()
        html = " ".join(browser.get("/admin/learners/birds/classes").text.split())
        assert '60.0% <span class="muted">of 10, 31 to 83%</span> <span class="few">' in html
