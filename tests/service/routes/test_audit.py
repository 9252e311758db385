"""The audit log over HTTP: every change leaves one entry, and nothing else does."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from fastapi.routing import iter_route_contexts
from fastapi.testclient import TestClient
from httpx import Response
from sqlalchemy.orm import Session, sessionmaker

from registry import audit, deliveries, keys, queue, tasks, versions
from registry.blobs.store import LocalBlobStore
from registry.schedule import Schedule
from registry.tables import TaskRow
from tests.factories import (
    learn_at_once,
    make_image,
    make_learner,
    make_new_version,
    make_subscription,
    make_task,
    publish_task,
)
from tests.service.api import image_files, version_of
from tests.waiting import wait_until

BY_HAND = Schedule.parse("by_hand")
OWN = {"Sec-Fetch-Site": "same-origin"}
NO_CHANGES = {
    ("POST", "/v1/learners/{name}/predictions"),
    ("POST", "/v1/learners/{name}/why"),
    ("POST", "/admin/login"),
    ("POST", "/admin/logout"),
    ("POST", "/admin/enter"),
    ("POST", "/v1/login-links"),
    ("POST", "/v1/learners/{name}/unlearn/preview"),
    ("POST", "/admin/learners/{name}/try"),
    ("POST", "/admin/learners/{name}/teach/look"),
}
"""What changes nothing that an operator would look for, though its method is not GET."""


@dataclass
class World:
    """A service with one learner, and ways to bring it into the state that a change needs."""

    client: TestClient
    """With an admin key, or logged in as such in a browser."""
    sessions: sessionmaker[Session]
    blobs: LocalBlobStore
    learn: Callable[[str], None]
    key: str
    """Of the admin."""

    def queued(self) -> str:
        """Return the id of a task that waits."""
        with self.sessions.begin() as session:
            return make_task(session, self.blobs, classes=("crane", "ibis")).id

    def cancelled(self) -> str:
        """Return the id of one that was cancelled."""
        task_id = self.queued()
        with self.sessions.begin() as session:
            tasks.request_cancel(session, task_id)
        return task_id

    def held(self) -> str:
        """Return the id of one that is held."""
        task_id = self.queued()
        with self.sessions.begin() as session:
            claimed = queue.claim(session, task_id, "tests", 30)
            assert claimed is not None
            new_version = make_new_version(session, tasks.get_task(session, task_id))
            versions.hold(session, task_id, claimed.token, new_version, "It forgets.")
        return task_id

    def published(self) -> TaskRow:
        """Publish a task of herons and egrets, without learning them."""
        with self.sessions.begin() as session:
            task = make_task(session, self.blobs)
            publish_task(session, task)
            return task

    def waiting(self) -> None:
        """Publish a task that waits to be consolidated, for which nobody has asked."""
        with self.sessions.begin() as session:
            learn_at_once(session, self.blobs, ["heron", "egret"], schedule=BY_HAND)

    def learned(self) -> None:
        """Learn herons and egrets."""
        headers = {"Authorization": f"Bearer {self.key}"}
        files = image_files(("heron", "egret"))
        answer = self.client.post("/v1/learners/birds/tasks", files=files, headers=headers)
        self.learn(answer.json()["id"])

    def two_versions(self) -> None:
        """Publish two versions, without learning them."""
        self.published()
        with self.sessions.begin() as session:
            publish_task(session, make_task(session, self.blobs, classes=("crane",)))


def import_bundle(world: World) -> Response:
    world.learned()
    bundle = world.client.get("/v1/learners/birds/versions/1/bundle").content
    headers = {"Content-Type": "application/x-tar"}
    return world.client.post("/v1/learners/import?name=again", content=bundle, headers=headers)


def unlearn(world: World) -> Response:
    world.published()
    return world.client.post("/v1/learners/birds/unlearn", json={"classes": ["egret"]})


def heron_of(world: World) -> str:
    """Publish a task, and return the id of one of its images."""
    task = world.published()
    samples = world.client.get(f"/v1/tasks/{task.id}/samples?label=heron").json()
    return str(samples["items"][0]["id"])


def correct(world: World) -> Response:
    body = {"changes": [{"sample": heron_of(world), "to": "egret"}]}
    return world.client.post("/v1/learners/birds/corrections", json=body)


def correct_in_browser(world: World) -> Response:
    form = {"action": "move", "to": "egret", "image": heron_of(world)}
    return world.client.post("/admin/learners/birds/classes/heron", data=form)


def undo_in_browser(world: World) -> Response:
    sample = heron_of(world)
    with world.sessions.begin() as session:
        task = tasks.add_correction(session, "birds", name=None, changes=[(sample, "egret")])
        publish_task(session, task, tasks=[1], classes=["heron", "egret"])
    form = {"label": "heron"}
    return world.client.post(f"/admin/learners/birds/corrections/{task.id}/undo", data=form)


def consolidate(world: World) -> Response:
    world.waiting()
    return world.client.post("/v1/learners/birds/consolidations", json={})


def consolidate_in_browser(world: World) -> Response:
    world.waiting()
    return world.client.post("/admin/learners/birds/consolidate")


def move_alias(world: World) -> Response:
    world.two_versions()
    return world.client.put("/v1/learners/birds/aliases/live", json={"version": 1})


def revoke_key(world: World) -> Response:
    created = world.client.post("/v1/keys", json={"name": "camera", "role": "reader"}).json()
    return world.client.delete(f"/v1/keys/{created['id']}")


def give_feedback(world: World) -> Response:
    world.learned()
    wait_until(lambda: version_of(world.client, "birds") == 1)
    headers = {"Content-Type": "image/png"}
    image = make_image("heron", 50)
    answer = world.client.post("/v1/learners/birds/predictions", content=image, headers=headers)
    body = {"index": 0, "label": "egret"}
    return world.client.post(f"/v1/predictions/{answer.json()['id']}/feedback", json=body)


def withdraw_feedback(world: World) -> Response:
    prediction = give_feedback(world).json()["id"]
    return world.client.delete(f"/v1/predictions/{prediction}/feedback/0")


@contextmanager
def as_program(world: World) -> Iterator[None]:
    """Ask with the key instead of the session, for a moment."""
    world.client.headers["Authorization"] = f"Bearer {world.key}"
    yield
    del world.client.headers["Authorization"]


def _asked(world: World) -> dict[str, Any]:
    """Return an image that waits for a word."""
    world.learned()
    wait_until(lambda: version_of(world.client, "birds") == 1)
    headers = {"Content-Type": "image/png"}
    image = make_image("heron", 50)
    answer = world.client.post("/v1/learners/birds/predictions", content=image, headers=headers)
    return {"prediction": answer.json()["id"], "index": 0}


def review(world: World) -> Response:
    body = {"images": [_asked(world)], "label": "egret"}
    return world.client.post("/v1/learners/birds/review", json=body)


def undo_review(world: World) -> Response:
    return world.client.delete(f"/v1/learners/birds/review/{review(world).json()['id']}")


def review_in_browser(world: World) -> Response:
    with as_program(world):
        image = _asked(world)
    form = {"images": f"{image['prediction']}.0", "act": "discard"}
    return world.client.post("/admin/learners/birds/review", data=form)


def undo_review_in_browser(world: World) -> Response:
    act = review_in_browser(world).headers["location"].rpartition("act=")[2]
    return world.client.post("/admin/learners/birds/review/undo", data={"act": act})


def learn_review_in_browser(world: World) -> Response:
    with as_program(world):
        image = _asked(world)
    form = {"images": f"{image['prediction']}.0", "act": "confirm"}
    assert world.client.post("/admin/learners/birds/review", data=form).is_redirect
    return world.client.post("/admin/learners/birds/review/learn")


def post_job(world: World) -> Response:
    world.learned()
    return world.client.post("/v1/learners/birds/prediction-jobs", json={"samples": {}})


def cancel_job(world: World) -> Response:
    app: Any = world.client.app
    app.state.context.jobs.stop()
    return world.client.post(f"/v1/prediction-jobs/{post_job(world).json()['id']}/cancel")


def delete_job(world: World) -> Response:
    return world.client.delete(f"/v1/prediction-jobs/{post_job(world).json()['id']}")


def post_job_in_browser(world: World) -> Response:
    world.published()
    return world.client.post("/admin/learners/birds/jobs", data={"source": "samples"})


def upload_job_in_browser(world: World) -> Response:
    world.published()
    return world.client.post("/admin/learners/birds/jobs/upload", files=image_files(("heron",)))


def _job_in_browser(world: World) -> str:
    """Post a job that waits, and return the address of its page."""
    app: Any = world.client.app
    app.state.context.jobs.stop()
    return str(post_job_in_browser(world).headers["location"])


def cancel_job_in_browser(world: World) -> Response:
    return world.client.post(f"{_job_in_browser(world)}/cancel")


def delete_job_in_browser(world: World) -> Response:
    return world.client.post(f"{_job_in_browser(world)}/delete")


def update_class(world: World) -> Response:
    world.published()
    body = {"name": "great egret", "hidden": True}
    return world.client.patch("/v1/learners/birds/classes/egret", json=body)


def update_class_by_query(world: World) -> Response:
    world.published()
    query = {"label": "egret"}
    return world.client.patch("/v1/learners/birds/classes", params=query, json={"hidden": True})


def change_class_in_browser(world: World) -> Response:
    world.published()
    form = {"label": "egret", "name": "great egret"}
    return world.client.post("/admin/learners/birds/classes", data=form)


def move_alias_in_browser(world: World) -> Response:
    world.two_versions()
    form = {"version": 1, "expected": 2}
    return world.client.post("/admin/learners/birds/live", data=form)


def create_key_in_browser(world: World) -> Response:
    return world.client.post("/admin/keys", data={"name": "camera", "role": "reader"})


def revoke_key_in_browser(world: World) -> Response:
    with world.sessions.begin() as session:
        key = keys.create_key(session, "camera", "reader")[0]
    return world.client.post(f"/admin/keys/{key.id}/revoke")


def subscribe(world: World) -> Response:
    body = {"name": "pond", "target": "https://example.org/SECRET", "events": ["task.ended"]}
    return world.client.post("/v1/subscriptions", json=body)


def subscribe_in_browser(world: World) -> Response:
    form = {"name": "pond", "target": "https://example.org/SECRET", "events": "task.ended"}
    return world.client.post("/admin/notifications", data=form)


def subscribed(world: World) -> tuple[str, str]:
    """Return the id of a subscription to which nothing is sent by itself, and that of a message of it."""
    app: Any = world.client.app
    app.state.context.notifier.stop()
    with world.sessions.begin() as session:
        row = make_subscription(session)
        return row.id, deliveries.add_test(session, row).id


def send_again(world: World, address: str) -> Response:
    subscription, message = subscribed(world)
    return world.client.post(f"{address}/{subscription}/messages/{message}/send")


def limit_key(world: World) -> Response:
    created = world.client.post("/v1/keys", json={"name": "camera", "role": "reader"}).json()
    body = {"quotas": {"tasks_per_day": 5}}
    return world.client.patch(f"/v1/keys/{created['id']}", json=body)


def limit_key_in_browser(world: World) -> Response:
    with world.sessions.begin() as session:
        key = keys.create_key(session, "camera", "reader")[0]
    return world.client.post(f"/admin/keys/{key.id}/quotas", data={"tasks_per_day": "5"})


def unlearn_in_browser(world: World) -> Response:
    world.published()
    form = {"class": "egret", "head": "1", "learner": "birds"}
    return world.client.post("/admin/learners/birds/unlearn", data=form)


def import_in_browser(world: World) -> Response:
    world.learned()
    bundle = world.client.get("/v1/learners/birds/versions/1/bundle").content
    files = {"bundle": ("birds.tar", bundle, "application/x-tar")}
    return world.client.post("/admin/import", data={"name": "again"}, files=files)


Call = Callable[[World], Response]
CALLS: dict[tuple[str, str], tuple[str, Call]] = {
    ("POST", "/v1/learners"): (
        "learner.create",
        lambda world: world.client.post(
            "/v1/learners", json={"name": "fish", "strategy": "simplecil", "backbone": "tiny"}
        ),
    ),
    ("PATCH", "/v1/learners/{name}"): (
        "learner.update",
        lambda world: world.client.patch("/v1/learners/birds", json={"metadata": {"a": "SECRET"}}),
    ),
    ("DELETE", "/v1/learners/{name}"): (
        "learner.delete",
        lambda world: world.client.delete("/v1/learners/birds"),
    ),
    ("POST", "/v1/learners/import"): ("learner.import", import_bundle),
    ("PUT", "/v1/learners/{name}/aliases/live"): ("alias.move", move_alias),
    ("POST", "/v1/learners/{name}/tasks"): (
        "task.create",
        lambda world: world.client.post(
            "/v1/learners/birds/tasks", files=image_files(("stork",), 3)
        ),
    ),
    ("POST", "/v1/learners/{name}/unlearn"): ("task.unlearn", unlearn),
    ("POST", "/v1/learners/{name}/corrections"): ("task.correct", correct),
    ("POST", "/admin/learners/{name}/classes/{label:path}"): ("task.correct", correct_in_browser),
    ("POST", "/admin/learners/{name}/corrections/{task_id}/undo"): (
        "task.correct",
        undo_in_browser,
    ),
    ("POST", "/v1/learners/{name}/consolidations"): ("task.consolidate", consolidate),
    ("POST", "/v1/tasks/{task_id}/cancel"): (
        "task.cancel",
        lambda world: world.client.post(f"/v1/tasks/{world.queued()}/cancel"),
    ),
    ("POST", "/v1/tasks/{task_id}/retry"): (
        "task.retry",
        lambda world: world.client.post(f"/v1/tasks/{world.cancelled()}/retry"),
    ),
    ("POST", "/v1/tasks/{task_id}/publish"): (
        "task.publish",
        lambda world: world.client.post(f"/v1/tasks/{world.held()}/publish"),
    ),
    ("PATCH", "/v1/learners/{name}/classes/{label:path}"): ("class.update", update_class),
    ("PATCH", "/v1/learners/{name}/classes"): ("class.update", update_class_by_query),
    ("POST", "/v1/predictions/{prediction_id}/feedback"): ("feedback.give", give_feedback),
    ("DELETE", "/v1/predictions/{prediction_id}/feedback/{index}"): (
        "feedback.withdraw",
        withdraw_feedback,
    ),
    ("POST", "/v1/learners/{name}/review"): ("review.name", review),
    ("DELETE", "/v1/learners/{name}/review/{act_id}"): ("review.undo", undo_review),
    ("POST", "/admin/learners/{name}/review"): ("review.discard", review_in_browser),
    ("POST", "/admin/learners/{name}/review/undo"): ("review.undo", undo_review_in_browser),
    ("POST", "/admin/learners/{name}/review/learn"): ("task.create", learn_review_in_browser),
    ("POST", "/v1/learners/{name}/prediction-jobs"): ("prediction_job.create", post_job),
    ("POST", "/v1/prediction-jobs/{job_id}/cancel"): ("prediction_job.cancel", cancel_job),
    ("DELETE", "/v1/prediction-jobs/{job_id}"): ("prediction_job.delete", delete_job),
    ("DELETE", "/v1/tasks/{task_id}/samples"): (
        "samples.delete",
        lambda world: world.client.delete(f"/v1/tasks/{world.published().id}/samples"),
    ),
    ("POST", "/v1/keys"): (
        "key.create",
        lambda world: world.client.post("/v1/keys", json={"name": "camera", "role": "reader"}),
    ),
    ("DELETE", "/v1/keys/{key_id}"): ("key.revoke", revoke_key),
    ("POST", "/v1/subscriptions"): ("subscription.create", subscribe),
    ("PATCH", "/v1/subscriptions/{subscription_id}"): (
        "subscription.update",
        lambda world: world.client.patch(
            f"/v1/subscriptions/{subscribed(world)[0]}", json={"enabled": False}
        ),
    ),
    ("DELETE", "/v1/subscriptions/{subscription_id}"): (
        "subscription.delete",
        lambda world: world.client.delete(f"/v1/subscriptions/{subscribed(world)[0]}"),
    ),
    ("POST", "/v1/subscriptions/{subscription_id}/test"): (
        "subscription.test",
        lambda world: world.client.post(f"/v1/subscriptions/{subscribed(world)[0]}/test"),
    ),
    ("POST", "/v1/subscriptions/{subscription_id}/messages/{message_id}/send"): (
        "subscription.send_again",
        lambda world: send_again(world, "/v1/subscriptions"),
    ),
    ("POST", "/admin/notifications"): ("subscription.create", subscribe_in_browser),
    ("POST", "/admin/notifications/{subscription_id}/enabled"): (
        "subscription.update",
        lambda world: world.client.post(
            f"/admin/notifications/{subscribed(world)[0]}/enabled", data={"enabled": "no"}
        ),
    ),
    ("POST", "/admin/notifications/{subscription_id}/delete"): (
        "subscription.delete",
        lambda world: world.client.post(f"/admin/notifications/{subscribed(world)[0]}/delete"),
    ),
    ("POST", "/admin/notifications/{subscription_id}/test"): (
        "subscription.test",
        lambda world: world.client.post(f"/admin/notifications/{subscribed(world)[0]}/test"),
    ),
    ("POST", "/admin/notifications/{subscription_id}/messages/{message_id}/send"): (
        "subscription.send_again",
        lambda world: send_again(world, "/admin/notifications"),
    ),
    ("PATCH", "/v1/keys/{key_id}"): ("key.update", limit_key),
    ("POST", "/admin/tasks/{task_id}/cancel"): (
        "task.cancel",
        lambda world: world.client.post(f"/admin/tasks/{world.queued()}/cancel"),
    ),
    ("POST", "/admin/tasks/{task_id}/retry"): (
        "task.retry",
        lambda world: world.client.post(f"/admin/tasks/{world.cancelled()}/retry"),
    ),
    ("POST", "/admin/tasks/{task_id}/publish"): (
        "task.publish",
        lambda world: world.client.post(f"/admin/tasks/{world.held()}/publish"),
    ),
    ("POST", "/admin/learners/{name}/consolidate"): (
        "task.consolidate",
        consolidate_in_browser,
    ),
    ("POST", "/admin/new-learner"): (
        "learner.create",
        lambda world: world.client.post("/admin/new-learner", data={"name": "fish"}),
    ),
    ("POST", "/admin/learners/{name}/teach"): (
        "task.create",
        lambda world: world.client.post(
            "/admin/learners/birds/teach", files=image_files(("stork",), 3)
        ),
    ),
    ("POST", "/admin/learners/{name}/jobs"): ("prediction_job.create", post_job_in_browser),
    ("POST", "/admin/learners/{name}/jobs/upload"): (
        "prediction_job.create",
        upload_job_in_browser,
    ),
    ("POST", "/admin/jobs/{job_id}/cancel"): ("prediction_job.cancel", cancel_job_in_browser),
    ("POST", "/admin/jobs/{job_id}/delete"): ("prediction_job.delete", delete_job_in_browser),
    ("POST", "/admin/learners/{name}/live"): ("alias.move", move_alias_in_browser),
    ("POST", "/admin/learners/{name}/classes"): ("class.update", change_class_in_browser),
    ("POST", "/admin/keys/{key_id}/quotas"): ("key.update", limit_key_in_browser),
    ("POST", "/admin/learners/{name}/unlearn"): ("task.unlearn", unlearn_in_browser),
    ("POST", "/admin/import"): ("learner.import", import_in_browser),
    ("POST", "/admin/keys"): ("key.create", create_key_in_browser),
    ("POST", "/admin/keys/{key_id}/revoke"): ("key.revoke", revoke_key_in_browser),
}
"""How each change is asked for so that it succeeds, and what the log calls it."""


@pytest.fixture
def world(
    client: TestClient,
    role_keys: dict[str, str],
    session_factory: sessionmaker[Session],
    blobs: LocalBlobStore,
    learn: Callable[[str], None],
) -> World:
    with session_factory.begin() as session:
        make_learner(session, "birds")
    client.follow_redirects = False
    return World(client, session_factory, blobs, learn, role_keys["admin"])


def changing_routes(app: Any) -> set[tuple[str, str]]:
    """Return method and path of everything that the app lets someone change."""
    found = {
        (method, context.path)
        for context in iter_route_contexts(app.routes)
        for method in context.methods or ()
    }
    assert ("GET", "/v1/learners/{name}") in found, "routes are not where they were"
    return {
        (method, path)
        for method, path in found
        if method not in ("GET", "HEAD", "OPTIONS") and path.startswith(("/v1/", "/admin/"))
    }


def test_every_changing_route_is_known_here(app):
    assert changing_routes(app) == CALLS.keys() | NO_CHANGES


@pytest.mark.parametrize("route", CALLS, ids=lambda route: " ".join(route))
def test_a_change_leaves_one_entry(world, route, role_keys):
    action, call = CALLS[route]
    key_id = role_keys["admin"].split("_")[1]
    if route[1].startswith("/admin"):
        del world.client.headers["Authorization"]
        world.client.headers.update(OWN)
        assert world.client.post("/admin/login", data={"key": role_keys["admin"]}).is_redirect
    answer = call(world)
    assert answer.is_success or answer.is_redirect, answer.text
    with world.sessions() as session:
        entries = audit.list_audit(session).items
    request_id = answer.headers["X-Request-Id"]
    (entry,) = [entry for entry in entries if entry.request_id == request_id]
    assert (entry.action, entry.key_id, entry.key_name) == (action, key_id, "admin")
    assert entry is entries[0]
    assert entry.subject
    assert (entry.learner is None) == action.startswith(("key.", "subscription."))
    told = json.dumps(entry.details)
    assert "SECRET" not in told
    assert "fil_" not in told


def test_what_is_refused_or_repeated_leaves_no_entry(world):
    headers = {"Idempotency-Key": "once"}
    body = {"name": "fish", "strategy": "simplecil", "backbone": "tiny"}
    refused = world.client.post("/v1/learners", json=body | {"name": "birds"})
    assert refused.status_code == 409
    for _ in range(2):
        assert world.client.post("/v1/learners", json=body, headers=headers).status_code == 201
    assert world.client.post("/v1/tasks/tsk_00000000/cancel").status_code == 404
    log = world.client.get("/v1/audit").json()["items"]
    assert [entry["subject"] for entry in log] == ["fish"]


def test_an_entry_says_what_was_and_what_is(world):
    task_id = world.queued()
    world.client.post(f"/v1/tasks/{task_id}/cancel", headers={"X-Request-Id": "mine"})
    (entry,) = world.client.get("/v1/audit").json()["items"]
    assert entry["details"] == {"status": {"before": "queued", "after": "cancelled"}}
    assert (entry["learner"], entry["subject"], entry["request_id"]) == ("birds", task_id, "mine")


def test_the_log_is_filtered_and_paged_newest_first(world, role_keys):
    world.queued()
    other = {"Authorization": f"Bearer {role_keys['trainer']}"}
    for name in ("a", "b", "c"):
        body = {"name": name, "strategy": "simplecil", "backbone": "tiny"}
        world.client.post("/v1/learners", json=body, headers=other if name == "b" else {})
    world.client.delete("/v1/learners/a")

    def read(query=""):
        answer = world.client.get(f"/v1/audit?{query}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def told(query=""):
        return [(entry["action"], entry["subject"]) for entry in read(query)["items"]]

    made = [("learner.create", name) for name in "cba"]
    gone = ("learner.delete", "a")
    assert told() == [gone, *made]
    assert told("action=learner.create") == made
    assert told("learner=a") == [gone, made[2]]
    assert told(f"key={role_keys['trainer'].split('_')[1]}") == [made[1]]
    second = read()["items"][1]
    since = second["created_at"].replace("+", "%2B")
    assert told(f"since={since}") == [gone, made[0]]
    page = read("limit=2")
    rest = read(f"limit=2&cursor={page['next_cursor']}")
    assert [entry["seq"] for entry in page["items"] + rest["items"]] == [
        entry["seq"] for entry in read()["items"]
    ]
    assert rest["next_cursor"] is None
    for query in ("key=nobody", "cursor=x", "action=%00", "learner=A"):
        assert world.client.get(f"/v1/audit?{query}").status_code == 422, query


@pytest.mark.parametrize("role", ["reader", "predictor", "trainer"])
def test_only_admins_read_the_log(client, role_keys, role):
    answer = client.get("/v1/audit", headers={"Authorization": f"Bearer {role_keys[role]}"})
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
