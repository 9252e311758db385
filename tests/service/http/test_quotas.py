"""Quotas: how much a key may do in a minute and in a day, and how often an address may guess."""

import re

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text

from registry import keys
from service.http import buckets, security
from service.http.buckets import Buckets, Guesses
from service.problems import Problem
from service.settings import ServiceSettings
from tests.factories import make_image
from tests.service.api import image_files

PNG = {"Content-Type": "image/png"}
LOGIN = {"Sec-Fetch-Site": "same-origin"}


def set_to(**values):
    """Run a test with settings of its own."""
    return pytest.mark.parametrize("settings", [values], indirect=True)


@pytest.fixture
def settings(tmp_path, request):
    values = getattr(request, "param", {})
    return ServiceSettings(
        data_dir=tmp_path, device="cpu", watch_s=0.05, min_free_bytes=0, decode_threads=2, **values
    )


@pytest.fixture
def clock(monkeypatch):
    """The stopwatch of the buckets, which stands still until it is moved."""

    class Clock:
        now = 1000.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(buckets, "time", clock)
    return clock


def test_a_bucket_gives_a_minutes_worth_at_once_and_then_what_flows_in(clock):
    buckets = Buckets()
    assert [buckets.draw("a", 3, 1).retry_after_s for _ in range(4)] == [None, None, None, 20]
    assert buckets.draw("b", 3, 1).retry_after_s is None
    clock.now += 19
    assert buckets.draw("a", 3, 1).retry_after_s == 1
    clock.now += 1
    assert buckets.draw("a", 3, 1).retry_after_s is None
    clock.now += 1000
    assert buckets.draw("a", 3, 1).tokens == 2


def test_a_request_larger_than_the_bucket_passes_when_it_is_full_and_owes(clock):
    buckets = Buckets()
    assert buckets.draw("a", 10, 1).tokens == 9
    assert buckets.draw("a", 10, 63, already=1).tokens == -54
    refused = buckets.draw("a", 10, 1)
    assert (refused.retry_after_s, refused.full_in_s) == (330, 384)
    # Whoever waits as long as it says gets through, also with what draws twice.
    clock.now += 330
    assert buckets.draw("a", 10, 1).retry_after_s is None
    wait_s = buckets.draw("a", 10, 63, already=1).retry_after_s
    clock.now += wait_s
    assert buckets.draw("a", 10, 1).retry_after_s is None
    assert buckets.draw("a", 10, 63, already=1).retry_after_s is None


def test_what_is_refused_costs_nothing(clock):
    buckets = Buckets()
    for _ in range(3):
        assert buckets.draw("a", 3, 1).tokens == 2
        assert buckets.draw("a", 3, 1, already=1).tokens == 1
        assert buckets.draw("a", 3, 1).tokens == 0
        clock.now += 20
        assert buckets.draw("a", 3, 1).tokens == 0
        refused = buckets.draw("a", 3, 1, already=1)
        assert (refused.tokens, refused.retry_after_s) == (1, 20)
        clock.now += 40


def test_no_tokens_is_never(clock):
    assert Buckets().draw("a", 0, 1).retry_after_s == 3600


def test_buckets_are_forgotten_beyond_their_number(clock, monkeypatch):
    monkeypatch.setattr(buckets, "MAX_BUCKETS", 2)
    drawn_from = Buckets()
    for owner in ("a", "b", "c"):
        assert drawn_from.draw(owner, 1, 1).retry_after_s is None
    assert drawn_from.draw("c", 1, 1).retry_after_s == 60
    assert drawn_from.draw("a", 1, 1).retry_after_s is None


@pytest.mark.parametrize(
    ("first", "second", "is_shared"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("fe80::1%eth0", "fe80::2", True),
        ("testclient", "testclient", True),
    ],
)
def test_guesses_are_counted_by_network(clock, first, second, is_shared):
    guesses = Guesses(1)
    guesses.require_left(first)
    guesses.count(first)
    if not is_shared:
        guesses.require_left(second)
        return
    with pytest.raises(Problem) as refused:
        guesses.require_left(second)
    assert refused.value.headers["Retry-After"] == "60"


@pytest.fixture
def limited(app, client, session_factory):
    """Makes a client of a key with quotas of its own."""

    def make(role="trainer", **quotas):
        with session_factory.begin() as session:
            _, key = keys.create_key(session, "limited", role, quotas=quotas)
        app.state.context.keys.refresh()
        headers = {"Authorization": f"Bearer {key}"}
        return TestClient(app, headers=headers, raise_server_exceptions=False)

    return make


def test_changes_by_the_minute(limited, birds, clock):
    caller = limited(changes_per_minute=2)
    body = {"metadata": {}}
    first = caller.patch(f"/v1/learners/{birds}", json=body)
    assert first.headers["ratelimit-policy"] == '"changes";q=2;w=60'
    assert first.headers["ratelimit"] == '"changes";r=1;t=30'
    caller.patch(f"/v1/learners/{birds}", json=body)
    refused = caller.patch(f"/v1/learners/{birds}", json=body)
    assert (refused.status_code, refused.json()["code"]) == (429, "rate-limited")
    assert refused.json()["retryable"]
    assert refused.headers["retry-after"] == "30"
    assert refused.headers["ratelimit"] == '"changes";r=0;t=60'
    assert caller.get(f"/v1/learners/{birds}").status_code == 200
    assert "ratelimit" not in caller.get(f"/v1/learners/{birds}").headers
    clock.now += 30
    assert caller.patch(f"/v1/learners/{birds}", json=body).status_code == 200


def test_a_change_is_refused_before_its_body_is_read(limited, birds, clock):
    caller = limited(changes_per_minute=0)
    answer = caller.patch(f"/v1/learners/{birds}", content=b"{")
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "3600")


def test_images_to_predict_by_the_minute(limited, taught, clock):
    caller = limited("predictor", predict_images_per_minute=4)
    url = f"/v1/learners/{taught}/predictions?store=false"
    three = [("images", (f"{i}.png", make_image("x", i), "image/png")) for i in range(3)]
    answer = caller.post(url, files=three)
    assert answer.status_code == 200
    assert answer.headers["ratelimit-policy"] == '"predict-images";q=4;w=60'
    assert answer.headers["ratelimit"] == '"predict-images";r=1;t=45'
    refused = caller.post(url, files=three)
    assert (refused.status_code, refused.json()["code"]) == (429, "rate-limited")
    clock.now += int(refused.headers["retry-after"])
    assert caller.post(url, files=three).status_code == 200


def test_a_try_in_the_browser_is_a_prediction(limited, taught, clock):
    caller = limited("predictor", predict_images_per_minute=1)
    image = {"image": ("a.png", make_image("x"), "image/png")}
    tried = [caller.post(f"/admin/learners/{taught}/try", files=image) for _ in range(2)]
    assert [answer.status_code for answer in tried] == [200, 429]


@set_to(changes_per_minute=1)
def test_the_settings_hold_for_keys_without_quotas_of_their_own(limited, birds):
    body = {"metadata": {}}
    url = f"/v1/learners/{birds}"
    plain, unlimited, admin = limited(), limited(changes_per_minute=None), limited("admin")
    assert [plain.patch(url, json=body).status_code for _ in range(2)] == [200, 429]
    assert [unlimited.patch(url, json=body).status_code for _ in range(2)] == [200, 200]
    # Whoever may lift a limit is not held up by it, unless it is written on the key.
    assert [admin.patch(url, json=body).status_code for _ in range(2)] == [200, 200]
    bound = limited("admin", changes_per_minute=1)
    assert [bound.patch(url, json=body).status_code for _ in range(2)] == [200, 429]


def test_tasks_of_a_day_are_counted_in_the_database(limited, session_factory, birds):
    caller = limited(tasks_per_day=2, images_per_day=10)
    url = f"/v1/learners/{birds}/tasks"

    def post(label, n):
        return caller.post(url, files=image_files((label,), n))

    assert post("a", 4).status_code == 202
    refused = post("b", 7)
    assert (refused.status_code, "10 images" in refused.json()["detail"]) == (429, True)
    assert 86_000 < int(refused.headers["retry-after"]) <= 86_400
    assert post("b", 6).status_code == 202
    refused = post("c", 2)
    assert (refused.status_code, "2 tasks" in refused.json()["detail"]) == (429, True)
    # The oldest leaves the day, whichever process counted it.
    with session_factory.begin() as session:
        session.execute(
            text("UPDATE tasks SET created_at = now() - interval '25 hours' WHERE index = 1")
        )
    assert post("c", 2).status_code == 202


def test_what_is_answered_again_counts_once(limited, birds):
    caller = limited(tasks_per_day=2)
    files = image_files(("a",), 2)
    answers = [
        caller.post(f"/v1/learners/{birds}/tasks", files=files, headers={"Idempotency-Key": "k"})
        for _ in range(3)
    ]
    assert [answer.status_code for answer in answers] == [202, 202, 202]
    assert len({answer.json()["id"] for answer in answers}) == 1


@set_to(max_classes=3)
def test_classes_of_a_learner(client, birds):
    """A total, not a rate: waiting does not help, and it holds for admins too."""
    url = f"/v1/learners/{birds}/tasks"
    assert client.post(url, files=image_files(("a", "b"), 2)).status_code == 202
    refused = client.post(url, files=image_files(("c", "d"), 2))
    assert (refused.status_code, refused.json()["code"]) == (403, "quota-exceeded")
    assert not refused.json()["retryable"]
    assert "retry-after" not in refused.headers
    assert client.post(url, files=image_files(("c",), 2)).status_code == 202
    extended = image_files(("a", "b", "c"), 3)
    assert client.post(f"{url}?mode=extend", files=extended).status_code == 202


@set_to(tasks_per_day=0, images_per_day=7)
def test_info_names_the_limits(client, settings):
    limits = client.get("/v1/info").json()["limits"]
    assert limits["changes_per_minute"] == settings.changes_per_minute
    assert limits["classes"] == settings.max_classes
    assert (limits["tasks_per_day"], limits["images_per_day"]) == (None, 7)


def test_wrong_keys_are_slowed_down_and_right_ones_are_not(app, client, role_keys, clock):
    ring = app.state.context.keys
    ring.wrong_keys = Guesses(3)
    stranger = TestClient(app)

    def ask(key):
        return stranger.get("/v1/strategies", headers={"Authorization": f"Bearer {key}"})

    answers = [ask(f"fil_00000000000{i}_x") for i in range(4)]
    assert [answer.status_code for answer in answers] == [401, 401, 401, 429]
    assert answers[3].headers["retry-after"] == "20"
    assert ask(role_keys["reader"]).status_code == 200
    assert stranger.get("/v1/strategies").status_code == 401
    assert stranger.get("/livez", headers={"Authorization": "Bearer x"}).status_code == 200
    clock.now += 20
    assert ask("fil_000000000009_x").status_code == 401


def test_failed_logins_are_limited_and_right_ones_are_not(app, client, role_keys, clock):
    stranger = TestClient(app, follow_redirects=False)

    def log_in(key):
        return stranger.post("/admin/login", data={"key": key}, headers=LOGIN)

    tried = [log_in(f"fil_0_{i}").status_code for i in range(security.LOGINS_PER_MINUTE + 1)]
    assert tried == [401] * 10 + [429]
    assert log_in(role_keys["reader"]).status_code == 303
    clock.now += 6
    assert log_in("fil_0_x").status_code == 401


def test_the_fields_are_structured_fields(limited, birds):
    """As draft-ietf-httpapi-ratelimit-headers has them: a list of strings with integer parameters."""
    answer = limited().patch(f"/v1/learners/{birds}", json={"metadata": {}})
    assert re.fullmatch(r'"[a-z-]+";q=\d+;w=\d+', answer.headers["ratelimit-policy"])
    assert re.fullmatch(r'"[a-z-]+";r=\d+;t=\d+', answer.headers["ratelimit"])
