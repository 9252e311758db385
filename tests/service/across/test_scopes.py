"""Keys that are limited to some learners: for them no other learners exist, whichever route they ask.

The matrix walks every route of the app. Two learners have everything in them; a trainer's key is limited to one, and
asks for the other's, by name and by id. A route that is not in the table fails the test: whoever adds one says what it
shows.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from fastapi.routing import iter_route_contexts
from fastapi.testclient import TestClient

from registry import keys
from registry.scopes import HIDDEN, conditions
from registry.tables import IdempotencyRow, Row
from service.http.security import COOKIE
from tests.factories import make_image
from tests.service.api import image_files, version_of
from tests.waiting import wait_until

OTHER, OWN = "canary-birds", "fish"
OTHERS_LABELS = ("canary-heron", "canary-egret")
NOTHING = {
    "name": "nobody",
    "label": "nothing",
    "number": "7",
    "index": "7",
    "task_id": "tsk_00000000000000000000000000",
    "sample_id": "smp_00000000000000000000000000",
    "prediction_id": "prd_00000000000000000000000000",
    "job_id": "job_00000000000000000000000000",
    "act_id": "act_00000000000000000000000000",
}
UPLOAD = {"files": image_files(("new-a", "new-b"), 2)}
PICTURE = {"content": make_image("x", 1), "headers": {"Content-Type": "image/png"}}


@dataclass(frozen=True)
class Shown:
    """What a limited key is shown of a route."""

    how: str
    """`same`: of another learner's what it is shown of what does not exist; `own`: only its own learners' entries;
    `open`: nothing of any learner; `refused`: 403, whatever it asks for."""
    options: dict[str, Any] = field(default_factory=dict)
    """Of the request."""


def same(**options: Any) -> Shown:
    return Shown("same", options)


OWN_ONLY, OPEN, REFUSED = Shown("own"), Shown("open"), Shown("refused")

LEARNER, TASK, PREDICTION = "/v1/learners/{name}", "/v1/tasks/{task_id}", "/v1/predictions/{prediction_id}"  # fmt: skip
JOB = "/v1/prediction-jobs/{job_id}"
SUBSCRIPTION = "/v1/subscriptions/{subscription_id}"
NOTIFICATION = "/admin/notifications/{subscription_id}"
TABLE: dict[tuple[str, str], Shown] = {
    ("POST", "/v1/learners"): REFUSED,
    ("POST", "/v1/learners/import"): REFUSED,
    ("GET", "/v1/learners"): OWN_ONLY,
    ("GET", LEARNER): same(),
    ("PATCH", LEARNER): same(json={"metadata": {"a": 1}}),
    ("DELETE", LEARNER): REFUSED,
    ("GET", f"{LEARNER}/aliases/live"): same(),
    ("PUT", f"{LEARNER}/aliases/live"): same(json={"version": 1}),
    ("GET", f"{LEARNER}/classes"): same(),
    ("GET", f"{LEARNER}/classes/{{label}}"): same(),
    ("PATCH", f"{LEARNER}/classes/{{label}}"): same(json={"hidden": False}),
    ("PATCH", f"{LEARNER}/classes"): same(params={"label": "{label}"}, json={"hidden": False}),
    ("GET", f"{LEARNER}/accuracy"): same(),
    ("GET", f"{LEARNER}/versions"): same(),
    ("GET", f"{LEARNER}/drift"): same(),
    ("GET", "/admin/learners/{name}/drift"): same(),
    ("GET", f"{LEARNER}/versions/{{number}}"): same(),
    ("GET", f"{LEARNER}/versions/{{number}}/confusion"): same(),
    ("GET", f"{LEARNER}/versions/{{number}}/confusion/pairs"): same(),
    ("GET", f"{LEARNER}/versions/{{number}}/confusion/images"): same(
        params={"true": "{label}", "answered": "{label}"}
    ),
    ("GET", "/admin/learners/{name}/versions/{number}/confusion"): same(),
    ("GET", "/admin/learners/{name}/versions/{number}/confusion/images"): same(
        params={"true": "{label}", "answered": "{label}"}
    ),
    ("GET", f"{LEARNER}/versions/{{number}}/bundle"): same(),
    ("GET", f"{LEARNER}/versions/{{number}}/export"): same(),
    ("GET", "/v1/strategies"): OPEN,
    ("GET", "/v1/backbones"): OPEN,
    ("POST", f"{LEARNER}/tasks"): same(**UPLOAD),
    ("POST", f"{LEARNER}/unlearn/preview"): same(json={"classes": ["{label}"]}),
    ("POST", f"{LEARNER}/unlearn"): same(json={"classes": ["{label}"]}),
    ("POST", f"{LEARNER}/corrections"): same(
        json={"changes": [{"sample": "{sample_id}", "to": None}]}
    ),
    ("GET", f"{LEARNER}/samples"): same(),
    ("GET", f"{LEARNER}/insights"): same(),
    ("POST", f"{LEARNER}/consolidations"): same(json={}),
    ("GET", f"{LEARNER}/consolidations"): same(),
    ("GET", f"{LEARNER}/tasks"): same(),
    ("GET", "/v1/tasks"): OWN_ONLY,
    ("GET", TASK): same(),
    ("GET", f"{TASK}/events"): same(headers={"Accept": "application/json"}),
    ("POST", f"{TASK}/cancel"): same(),
    ("POST", f"{TASK}/retry"): same(),
    ("POST", f"{TASK}/publish"): same(),
    ("GET", f"{TASK}/samples"): same(),
    ("DELETE", f"{TASK}/samples"): same(),
    ("GET", "/v1/samples/{sample_id}/image"): same(),
    ("POST", f"{LEARNER}/predictions"): same(**PICTURE),
    ("GET", f"{LEARNER}/predictions"): same(),
    ("GET", f"{LEARNER}/feedback"): same(),
    ("GET", PREDICTION): same(),
    ("POST", f"{PREDICTION}/feedback"): same(json={"label": "new"}),
    ("DELETE", f"{PREDICTION}/feedback/{{index}}"): same(),
    ("GET", f"{PREDICTION}/images/{{index}}"): same(),
    ("GET", f"{PREDICTION}/images/{{index}}/why"): same(),
    ("POST", f"{LEARNER}/why"): same(**PICTURE),
    ("GET", f"{PREDICTION}/images/{{index}}/heat"): same(),
    ("GET", f"{PREDICTION}/images/{{index}}/heat.png"): same(),
    ("GET", "/admin/predictions/{prediction_id}/images/{index}/heat.png"): same(),
    ("GET", "/admin/predictions/{prediction_id}/images/{index}/why"): same(),
    ("GET", f"{LEARNER}/review"): same(),
    ("POST", f"{LEARNER}/review"): same(
        json={"images": [{"prediction": NOTHING["prediction_id"]}], "discard": True}
    ),
    ("DELETE", f"{LEARNER}/review/{{act_id}}"): same(),
    ("GET", "/admin/learners/{name}/review"): same(),
    ("POST", "/admin/learners/{name}/review"): same(data={"act": "discard", "images": "prd_x.0"}),
    ("POST", "/admin/learners/{name}/review/undo"): same(data={"act": NOTHING["act_id"]}),
    ("POST", "/admin/learners/{name}/review/learn"): same(),
    ("GET", "/admin/predictions/{prediction_id}/images/{index}"): same(),
    ("POST", f"{LEARNER}/prediction-jobs"): same(json={"samples": {}}),
    ("GET", f"{LEARNER}/prediction-jobs"): same(),
    ("GET", JOB): same(),
    ("GET", f"{JOB}/results"): same(),
    ("GET", f"{JOB}/images/{{index}}"): same(),
    ("POST", f"{JOB}/cancel"): same(),
    ("DELETE", JOB): same(),
    ("GET", "/v1/keys"): REFUSED,
    ("POST", "/v1/keys"): REFUSED,
    ("DELETE", "/v1/keys/{key_id}"): REFUSED,
    ("GET", "/v1/subscriptions"): REFUSED,
    ("POST", "/v1/subscriptions"): REFUSED,
    ("GET", SUBSCRIPTION): REFUSED,
    ("PATCH", SUBSCRIPTION): REFUSED,
    ("DELETE", SUBSCRIPTION): REFUSED,
    ("POST", f"{SUBSCRIPTION}/test"): REFUSED,
    ("GET", f"{SUBSCRIPTION}/messages"): REFUSED,
    ("POST", f"{SUBSCRIPTION}/messages/{{message_id}}/send"): REFUSED,
    ("PATCH", "/v1/keys/{key_id}"): REFUSED,
    ("GET", "/v1/audit"): REFUSED,
    ("GET", "/v1/workers"): REFUSED,
    ("GET", "/v1/health"): OWN_ONLY,
    ("GET", "/metrics"): REFUSED,
    ("GET", "/readyz"): OWN_ONLY,
    **{
        ("GET", path): OPEN
        for path in ("/", "/openapi.json", "/docs", "/livez", "/v1/info", "/problems/{code}")
    },
    ("GET", "/admin"): OWN_ONLY,
    ("GET", "/admin/learners/{name}"): same(),
    ("GET", "/admin/learners/{name}/classes"): same(),
    ("POST", "/admin/learners/{name}/classes"): same(data={"label": "{label}", "hidden": ""}),
    ("GET", "/admin/learners/{name}/suspects"): same(),
    ("GET", "/admin/learners/{name}/classes/{label}"): same(),
    ("POST", "/admin/learners/{name}/classes/{label}"): same(data={"action": "remove"}),
    ("POST", "/admin/learners/{name}/corrections/{task_id}/undo"): same(data={"label": "{label}"}),
    ("GET", "/admin/learners/{name}/versions/{number}"): same(),
    ("POST", "/admin/learners/{name}/consolidate"): same(),
    ("GET", "/admin/new-learner"): REFUSED,
    ("POST", "/admin/new-learner"): REFUSED,
    ("GET", "/admin/learners/{name}/teach"): same(params={"task": "{task_id}"}),
    ("GET", "/admin/learners/{name}/teach/live.json"): same(params={"task": "{task_id}"}),
    ("POST", "/admin/learners/{name}/teach"): same(**UPLOAD),
    ("POST", "/admin/learners/{name}/teach/look"): same(**UPLOAD),
    ("GET", "/admin/learners/{name}/jobs"): same(),
    ("POST", "/admin/learners/{name}/jobs"): same(data={"source": "samples"}),
    ("POST", "/admin/learners/{name}/jobs/upload"): same(**UPLOAD),
    ("GET", "/admin/jobs/{job_id}"): same(),
    ("GET", "/admin/jobs/{job_id}/live.json"): same(),
    ("GET", "/admin/jobs/{job_id}/images/{index}"): same(),
    ("POST", "/admin/jobs/{job_id}/cancel"): same(),
    ("POST", "/admin/jobs/{job_id}/delete"): same(),
    ("POST", "/admin/learners/{name}/live"): same(data={"version": 1, "expected": 1}),
    ("GET", "/admin/learners/{name}/try"): same(),
    ("POST", "/admin/learners/{name}/try"): same(
        files={"image": ("a.png", make_image("x", 1), "image/png")}
    ),
    ("GET", "/admin/tasks"): OWN_ONLY,
    ("GET", "/admin/tasks.json"): OWN_ONLY,
    ("POST", "/admin/tasks/{task_id}/cancel"): same(),
    ("POST", "/admin/tasks/{task_id}/retry"): same(),
    ("POST", "/admin/tasks/{task_id}/publish"): same(),
    ("GET", "/admin/samples/{sample_id}/image"): same(),
    ("GET", "/admin/keys"): REFUSED,
    ("POST", "/admin/keys"): REFUSED,
    ("POST", "/admin/keys/{key_id}/revoke"): REFUSED,
    ("GET", "/admin/notifications"): REFUSED,
    ("POST", "/admin/notifications"): REFUSED,
    ("GET", NOTIFICATION): REFUSED,
    ("POST", f"{NOTIFICATION}/test"): REFUSED,
    ("POST", f"{NOTIFICATION}/enabled"): REFUSED,
    ("POST", f"{NOTIFICATION}/delete"): REFUSED,
    ("POST", f"{NOTIFICATION}/messages/{{message_id}}/send"): REFUSED,
    ("POST", "/admin/keys/{key_id}/quotas"): REFUSED,
    ("GET", "/admin/import"): REFUSED,
    ("POST", "/admin/import"): REFUSED,
    ("GET", "/admin/learners/{name}/unlearn"): same(params={"class": "{label}"}),
    ("POST", "/admin/learners/{name}/unlearn"): same(
        data={"class": "{label}", "head": "1", "learner": OWN}
    ),
    ("GET", "/admin/audit"): REFUSED,
    ("GET", "/admin/login"): OPEN,
    ("GET", "/admin/enter"): OPEN,
    ("GET", "/admin/static/{name}"): OPEN,
    ("GET", "/admin/{path}"): OPEN,
}
APART = {
    ("POST", "/admin/login"),
    ("POST", "/admin/enter"),
    ("POST", "/admin/logout"),
    ("POST", "/v1/login-links"),
}
"""About the session itself; tests/service/http/test_security.py and test_login_links.py beside it have them."""


@dataclass
class Tenants:
    """Two learners with everything in them, and a key limited to one of them."""

    others: dict[str, str]
    """What stands in a path for the learner that the key may not see."""
    own: dict[str, str]
    key: str
    cookie: str
    canaries: list[str]
    """Texts that name something of the other learner."""


@pytest.fixture
def tenants(app, client, session_factory, learn) -> Tenants:
    places = {}
    for learner, labels in ((OTHER, OTHERS_LABELS), (OWN, ("carp", "trout"))):
        body = {"name": learner, "strategy": "simplecil", "backbone": "tiny"}
        assert client.post("/v1/learners", json=body).status_code == 201
        task = client.post(f"/v1/learners/{learner}/tasks", files=image_files(labels)).json()["id"]
        learn(task)
        wait_until(lambda name=learner: version_of(client, name) == 1)
        prediction = client.post(f"/v1/learners/{learner}/predictions", **PICTURE).json()["id"]
        given = {"index": 0, "label": labels[0]}
        wait_until(lambda url=prediction: client.get(f"/v1/predictions/{url}").status_code == 200)
        assert client.post(f"/v1/predictions/{prediction}/feedback", json=given).is_success
        again = client.post(f"/v1/learners/{learner}/predictions", **PICTURE).json()["id"]
        settled = {"images": [{"prediction": again}], "discard": True}
        act = client.post(f"/v1/learners/{learner}/review", json=settled).json()
        # A second one waits, so that there is something to cancel.
        files = image_files((f"{labels[0]}-2",), 3)
        waiting = client.post(f"/v1/learners/{learner}/tasks", files=files).json()["id"]
        job = client.post(f"/v1/learners/{learner}/prediction-jobs", json={"samples": {}}).json()
        samples = client.get(f"/v1/tasks/{task}/samples?limit=200").json()["items"]
        places[learner] = {
            "name": learner,
            "label": labels[0],
            "number": "1",
            "index": "0",
            "task_id": task,
            "waiting": waiting,
            "sample_id": samples[0]["id"],
            "prediction_id": prediction,
            "job_id": job["id"],
            "act_id": act["id"],
        }
    with session_factory.begin() as session:
        _, key = keys.create_key(session, "of the fishmonger", "trainer", learners=[OWN])
    ring = app.state.context.keys
    ring.refresh()
    canaries = [v for k, v in places[OTHER].items() if k not in ("number", "index")]
    cookie = ring.session_cookie(ring.verify(key))
    return Tenants(places[OTHER], places[OWN], key, cookie, [*canaries, *OTHERS_LABELS])


@pytest.fixture
def ask(app, tenants) -> Callable[..., Any]:
    """Asks with the limited key, as a program or, under /admin, as a browser."""
    stranger = TestClient(app, raise_server_exceptions=False, follow_redirects=False)

    def send(method, template, shown, places, *, as_browser=False):
        options = fill_in(shown.options, places)
        headers = dict(options.get("headers", {}))
        if as_browser:
            headers |= {"Cookie": f"{COOKIE}={tenants.cookie}", "Accept": "text/html"}
            headers["Sec-Fetch-Site"] = "same-origin"
        else:
            headers["Authorization"] = f"Bearer {tenants.key}"
        path = fill(template, places)
        return stranger.request(method, path, **{**options, "headers": headers})

    return send


def routes_of(app):
    return {
        (method, re.sub(r"{(\w+):path}", r"{\1}", context.path))
        for context in iter_route_contexts(app.routes)
        for method in context.methods
        if method != "HEAD"
    }


def fill(template: str, places: dict[str, str]) -> str:
    places = {
        "key_id": "000000000000",
        "subscription_id": "sub_0000000000",
        "message_id": "msg_0000000000",
        "code": "validation",
        "path": "x",
        **places,
    }
    return re.sub(r"{(\w+)}", lambda found: places[found[1]], template)


def fill_in(part: Any, places: dict[str, str]) -> Any:
    """Return a request's options with ids and labels in the places of their names."""
    if isinstance(part, dict):
        return {key: fill_in(value, places) for key, value in part.items()}
    if isinstance(part, list):
        return [fill_in(value, places) for value in part]
    if part in ("{label}", "{task_id}", "{sample_id}"):
        return places[part[1:-1]]
    return part


def seen(answer) -> tuple[Any, ...]:
    """Return what a client sees of an answer, without what differs between any two."""
    body = re.sub(r"req_[0-9a-z]{26}", "", answer.text)
    return answer.status_code, body, answer.headers.get("location"), answer.headers["content-type"]


def state_of(client, learner) -> list[Any]:
    url = f"/v1/learners/{learner}"
    parts = (
        "",
        "/tasks",
        "/versions",
        "/classes",
        "/aliases/live",
        "/feedback",
        "/prediction-jobs",
    )
    found = [client.get(f"{url}{part}").json() for part in parts]
    tasks = [task["id"] for task in found[1]["items"]]
    return [*found, *(client.get(f"/v1/tasks/{task}/samples").json() for task in tasks)]


def test_the_table_names_every_route_and_no_other(app):
    assert routes_of(app) == TABLE.keys() | APART


def test_nothing_of_another_learner_is_shown_or_changed(client, tenants, ask, subtests):
    client.get(f"{fill(JOB, tenants.others)}?wait=30")
    before = state_of(client, OTHER)
    for (method, template), shown in TABLE.items():
        ways = (False, True) if template.startswith("/admin") else (False,)
        for as_browser in ways:
            with subtests.test(method=method, path=template, as_browser=as_browser):
                answer = ask(method, template, shown, tenants.others, as_browser=as_browser)
                assert not [text for text in tenants.canaries if text in answer.text]
                if shown.how == "same":
                    nothing = ask(method, template, shown, NOTHING, as_browser=as_browser)
                    assert answer.status_code == 404
                    assert seen(answer) == seen(nothing)
                elif shown.how == "refused":
                    assert answer.status_code == 403
                elif template != "/admin/{path}":
                    assert answer.status_code in (200, 303, 404 if "static" in template else 200)
    waiting = {"task_id": tenants.others["waiting"]}
    assert ask("POST", f"{TASK}/cancel", OPEN, waiting).status_code == 404
    assert state_of(client, OTHER) == before


def test_its_own_learner_is_shown_and_changed(client, tenants, ask, subtests):
    """So the 404s of the matrix come of the scope, not of requests that nobody could make."""
    deleting = [
        ("DELETE", f"{TASK}/samples"),
        ("POST", "/admin/jobs/{job_id}/delete"),
        ("DELETE", JOB),
    ]
    first = [row for row in TABLE if row not in deleting]
    for method, template in [*first, *deleting[:2]]:
        shown = TABLE[method, template]
        if shown.how == "same":
            with subtests.test(method=method, path=template):
                answer = ask(method, template, shown, tenants.own)
                assert answer.status_code not in (401, 403, 404, 405, 422), answer.text


def test_lists_hold_its_own_and_everything_holds_the_other_too(client, tenants, ask, subtests):
    for path in ("/v1/learners", "/v1/tasks", "/readyz", "/admin", "/admin/tasks", "/admin/tasks.json"):  # fmt: skip
        with subtests.test(path=path):
            mine = ask("GET", path, OPEN, tenants.own).text
            assert OWN in mine or tenants.own["waiting"] in mine
            whole = client.get(path).text
            assert OTHER in whole or tenants.others["waiting"] in whole
    # Nor does a cursor tell that there are more than are shown.
    page = ask("GET", "/v1/learners?limit=1", OPEN, {}).json()
    assert ([item["name"] for item in page["items"]], page["next_cursor"]) == ([OWN], None)


def test_deleting_its_images_leaves_those_that_another_learner_shares(client, tenants, ask, learn):
    """Blobs are shared between all learners: whether one is still needed is not a question of what a key may see."""
    shared = image_files(("shared",), 3)
    ids = {}
    for learner in (OTHER, OWN):
        for task in client.get(f"/v1/learners/{learner}/tasks?status=queued").json()["items"]:
            client.post(f"/v1/tasks/{task['id']}/cancel")
        ids[learner] = client.post(f"/v1/learners/{learner}/tasks", files=shared).json()["id"]
    learn(ids[OWN])
    sample = client.get(f"/v1/tasks/{ids[OTHER]}/samples").json()["items"][0]["id"]
    assert ask("DELETE", f"{TASK}/samples", OPEN, {"task_id": ids[OWN]}).json()["deleted"] == 0
    assert client.get(f"/v1/samples/{sample}/image").status_code == 200


def test_a_learner_of_the_same_name_later_is_another_one(client, tenants, ask):
    assert ask("GET", LEARNER, OPEN, tenants.own).status_code == 200
    assert client.delete(f"/v1/learners/{OWN}").status_code == 204
    body = {"name": OWN, "strategy": "simplecil", "backbone": "tiny"}
    assert client.post("/v1/learners", json=body).status_code == 201
    assert ask("GET", LEARNER, OPEN, tenants.own).status_code == 404
    [mine] = [key for key in client.get("/v1/keys").json()["items"] if key["learners"] is not None]
    assert mine["learners"] == []


def test_every_table_is_limited_or_says_why_not():
    limited = conditions(["lrn_x"]).keys()
    every = {mapper.class_ for mapper in Row.registry.mappers}
    # Its rows are found by the id of the key that made them.
    assert every - limited == {IdempotencyRow}
    assert limited >= set(HIDDEN)
