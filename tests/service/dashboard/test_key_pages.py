"""Keys and the audit log in the browser."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func

from registry import audit, keys
from registry.tables import ROLES
from service.dashboard.key_pages import key_views
from service.http.quotas import Quotas
from service.settings import ServiceSettings
from tests.factories import make_learner, make_task

OWN = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def made(browser, session):
    """Return a function that makes a key by the form, and returns the whole key and its row."""

    def make(**form):
        fields = {"name": "camera", "role": "predictor", "days": "30", **form}
        answer = browser.post("/admin/keys", data=fields, headers=OWN)
        assert answer.status_code == 201, answer.text
        key = re.search(r"fil_[0-9a-f]{12}_[0-9a-f]{64}", answer.text).group()
        session.rollback()
        return key, next(row for row in keys.list_keys(session) if row.id == key.split("_")[1])

    return make


def test_a_new_key_is_shown_once_and_works(browser, client, made):
    key, row = made()
    assert (row.name, row.role, row.learner_ids) == ("camera", "predictor", None)
    assert timedelta(days=29) < row.expires_at - datetime.now(UTC) < timedelta(days=31)
    client.headers["Authorization"] = f"Bearer {key}"
    assert client.get("/v1/learners").status_code == 200
    html = browser.get("/admin/keys").text
    assert row.id in html
    assert key.split("_")[2] not in html


def test_a_key_is_limited_to_the_learners_chosen(session, made, browser):
    ids = [make_learner(session, name).id for name in ("birds", "fish", "plates")]
    session.commit()
    _, row = made(scope=["birds", "plates"], days="0")
    assert (set(row.learner_ids), row.expires_at) == ({ids[0], ids[2]}, None)
    assert "birds, plates" in browser.get("/admin/keys").text


def test_what_was_done_is_in_the_log_without_the_secret(session, made):
    key, row = made()
    [entry] = audit.list_audit(session, action="key.create").items
    assert (entry.subject, entry.key_name) == (row.id, "admin")
    assert entry.details["role"] == "predictor"
    assert key.split("_")[2] not in str(entry.details)


@pytest.mark.parametrize(
    "form",
    [
        {"name": "  "},
        {"name": "a\nb"},
        {"name": "x" * 201},
        {"role": "king"},
        {"days": "-1"},
        {"days": "soon"},
        {"scope": "nobody"},
        {"role": "admin", "scope": "birds"},
    ],
)
def test_a_form_that_makes_no_sense_makes_no_key(browser, session, form):
    make_learner(session, "birds")
    session.commit()
    fields = {"name": "camera", "role": "predictor", "days": "30", **form}
    assert browser.post("/admin/keys", data=fields, headers=OWN).status_code == 422
    session.rollback()
    assert {row.name for row in keys.list_keys(session)} == set(ROLES)


def test_a_key_is_revoked_by_its_button(browser, client, made):
    key, row = made()
    answer = browser.post(f"/admin/keys/{row.id}/revoke", headers=OWN)
    assert answer.headers["Location"] == "/admin/keys?done=key-revoked"
    assert "pill-revoked" in browser.get("/admin/keys").text
    client.headers["Authorization"] = f"Bearer {key}"
    assert client.get("/v1/learners").status_code == 401


def test_the_last_admin_key_stays(browser, session, role_keys):
    key_id = role_keys["admin"].split("_")[1]
    answer = browser.post(f"/admin/keys/{key_id}/revoke", headers=OWN)
    assert answer.headers["Location"] == "/admin/keys?problem=last-admin-key"
    assert browser.get("/admin/keys").status_code == 200
    assert audit.list_audit(session, action="key.revoke").items == []


def test_what_still_works_comes_first(session):
    for name in ("old", "late", "new"):
        row, _ = keys.create_key(session, name, "reader")
        if name == "old":
            keys.revoke_key(session, row.id)
        if name == "late":
            row.expires_at = func.now() - timedelta(days=1)
        session.commit()  # each in a transaction, and so at a time, of its own
    views = key_views(session, Quotas(ServiceSettings()))
    assert [(view.name, view.state) for view in views] == [
        ("new", "valid"),
        ("late", "expired"),
        ("old", "revoked"),
    ]


def test_the_log_is_shown_and_filtered(browser, session, made):
    made()
    by = audit.Actor("0123456789ab", "camera", "req_1")
    moved = {"before": {"version": 4}, "after": {"version": 3}}
    audit.record(session, by, "alias.move", learner="birds", subject="live", details=moved)
    session.commit()
    html = browser.get("/admin/audit").text
    assert "version 4 → 3" in html
    assert "<b>camera</b> served version 3 instead of 4" in html
    assert "<code>key.create</code>" in html
    assert '<option value="alias.move">alias: move</option>' in html
    assert '<option value="0123456789ab">camera</option>' in html
    for query in ("learner=birds", "action=alias.move", "key=0123456789ab"):
        html = browser.get(f"/admin/audit?{query}").text
        assert "<code>alias.move</code>" in html
        assert "<code>key.create</code>" not in html
        assert " selected>" in html
    assert "Nothing found" in browser.get("/admin/audit?learner=nobody").text


def test_the_log_comes_in_pages(browser, session, monkeypatch):
    monkeypatch.setattr("service.dashboard.audit_pages.ENTRIES_SHOWN", 2)
    for name in ("first", "second", "third"):
        audit.record(session, None, "key.create", subject=name)
    session.commit()
    html = browser.get("/admin/audit?action=key.create").text
    assert "third" in html
    assert "first" not in html
    older = re.search(r'href="(/admin/audit\?[^"]+cursor[^"]+)"', html).group(1)
    html = browser.get(older.replace("&amp;", "&")).text
    assert "first" in html
    assert "third" not in html


@pytest.mark.parametrize("role", ["reader", "predictor", "trainer"])
def test_only_admins_see_keys_and_the_log(visitor, log_in, role_keys, session, role):
    log_in(role_keys[role])
    home = visitor.get("/admin").text
    assert "/admin/keys" not in home
    assert "/admin/audit" not in home
    assert visitor.get("/admin/keys").status_code == 403
    assert visitor.get("/admin/audit").status_code == 403
    fields = {"name": "camera", "role": "admin", "days": "0"}
    assert visitor.post("/admin/keys", data=fields, headers=OWN).status_code == 403
    key_id = role_keys["reader"].split("_")[1]
    assert visitor.post(f"/admin/keys/{key_id}/revoke", headers=OWN).status_code == 403
    assert len(keys.list_keys(session)) == len(ROLES)
    assert all(row.revoked_at is None for row in keys.list_keys(session))


def test_a_key_is_limited_and_shows_how_much_it_has_used(browser, client, session, blobs):
    row, _ = keys.create_key(session, "camera", "trainer")
    make_learner(session, "birds")
    make_task(session, blobs, "birds", key_id=row.id)
    session.commit()
    form = {"tasks_per_day": "5", "images_per_day": "none", "changes_per_minute": " 60 "}
    answer = browser.post(f"/admin/keys/{row.id}/quotas", data=form, headers=OWN)
    assert answer.headers["location"] == "/admin/keys?done=key-limited"
    html = browser.get(answer.headers["location"]).text
    assert "The key is limited otherwise" in html
    assert '<div class="nowrap">1 of 5 tasks</div>' in html
    assert '<div class="nowrap">18 images</div>' in html
    [shown] = [one for one in client.get("/v1/keys").json()["items"] if one["id"] == row.id]
    assert shown["quotas"] == {
        "tasks_per_day": 5,
        "images_per_day": None,
        "changes_per_minute": 60,
    }
    assert shown["day"] == {"tasks": 1, "images": 18, "most_tasks": 5, "most_images": None}
    # In the place of all that it had.
    client.patch(f"/v1/keys/{row.id}", json={"quotas": {"tasks_per_day": 1}})
    session.expire_all()
    session.rollback()
    assert keys.get_quotas(session, row.id) == {"tasks_per_day": 1}


@pytest.mark.parametrize("limit", ["many", "-1", "1.5", "9" * 19])
def test_a_limit_that_is_none_is_refused(browser, session, limit):
    row, _ = keys.create_key(session, "camera", "reader")
    session.commit()
    form = {"tasks_per_day": limit}
    answer = browser.post(f"/admin/keys/{row.id}/quotas", data=form, headers=OWN)
    assert answer.status_code == 422
    assert "Write a whole number for tasks in 24 hours, or none for no limit." in answer.text
    session.rollback()
    assert keys.get_quotas(session, row.id) == {}


def test_a_limit_holds_and_the_page_says_for_how_long(browser, client, made, session, blobs):
    key, row = made(role="trainer", tasks_per_day="1")
    make_learner(session, "birds")
    make_task(session, blobs, "birds", key_id=row.id)
    session.commit()
    browser.post("/admin/login", data={"key": key}, headers=OWN)
    answer = browser.post("/admin/learners/birds/consolidate", headers=OWN)
    assert answer.status_code == 429
    assert "This key may post 1 tasks in 24 hours. Try again in 24 hours." in answer.text


def test_a_key_that_is_not_there_is_not_limited(client):
    answer = client.patch("/v1/keys/000000000000", json={"quotas": {}})
    assert (answer.status_code, answer.json()["code"]) == (404, "key-not-found")
