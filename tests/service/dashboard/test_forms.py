"""How forms of the dashboard are read: what browsers send is understood, what nobody needs is refused."""

import pytest

from service.dashboard.forms import MOST_FIELDS, parse_fields
from service.problems import Problem

OWN = {"Sec-Fetch-Site": "same-origin"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (b"", []),
        (b"a=1&a=2", [("a", "1"), ("a", "2")]),
        (b"a=&b", [("a", ""), ("b", "")]),
        (b"a=%C3%A4+%26", [("a", "ä &")]),
        (b"a=%ff%zz", [("a", "\ufffd%zz")]),
        (b"a;b=c=d", [("a;b", "c=d")]),
        (b"&&a=1&", [("a", "1")]),
    ],
)
def test_fields_are_read_as_browsers_write_them(body, fields):
    assert parse_fields(body).multi_items() == fields


@pytest.mark.parametrize("between", [b"", b"a", b"a=1"])
def test_fields_are_counted_also_empty_ones(between):
    parse_fields(b"&".join([between] * MOST_FIELDS))
    with pytest.raises(Problem) as caught:
        parse_fields(b"&".join([between] * (MOST_FIELDS + 1)))
    assert caught.value.code == "too-many-parts"


@pytest.mark.parametrize("as_files", [False, True])
def test_a_form_may_come_in_parts(visitor, role_keys, as_files):
    """As browsers send it where a page says so; a file where text belongs is no text."""
    value = role_keys["reader"] if not as_files else ("key.txt", role_keys["reader"])
    files = {"key": value if as_files else (None, value), "next": (None, "/admin/tasks")}
    answer = visitor.post("/admin/login", files=files, headers=OWN)
    assert answer.status_code == (422 if as_files else 303)


@pytest.mark.parametrize(
    ("path", "size", "code"),
    [
        ("/admin/login", 4 * 1024, "too-many-parts"),
        ("/admin/login", 4 * 1024 + 1, "body-too-large"),
        ("/admin/enter", 4 * 1024 + 1, "body-too-large"),
        ("/admin/keys", 64 * 1024, "too-many-parts"),
        ("/admin/keys", 64 * 1024 + 1, "body-too-large"),
        ("/admin/learners/birds/classes", 64 * 1024 + 1, "body-too-large"),
        ("/admin/learners/birds/live", 64 * 1024 + 1, "body-too-large"),
        ("/admin/learners/birds/try", 64 * 1024 + 1, "too-many-parts"),
    ],
)
def test_a_form_has_the_limit_of_what_it_is(client, visitor, path, size, code):
    sender = visitor if path in ("/admin/login", "/admin/enter") else client
    headers = OWN | FORM | {"Accept": "application/json"}
    answer = sender.post(path, content=b"&" * size, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (413, code)


def test_the_longest_form_that_a_page_has_is_read(client):
    """A key for 200 learners with long names."""
    names = [f"{'n' * 60}{number:03d}" for number in range(200)]
    for name in names:
        body = {"name": name, "strategy": "simplecil", "backbone": "tiny"}
        assert client.post("/v1/learners", json=body).status_code == 201
    form = {"name": "ä" * 200, "role": "trainer", "days": "7", "scope": names}
    assert client.post("/admin/keys", data=form).status_code == 201


@pytest.mark.parametrize("role", ["reader", "predictor"])
def test_the_role_is_asked_for_before_the_form_is_read(client, role_keys, role):
    headers = {"Authorization": f"Bearer {role_keys[role]}", "Accept": "text/html"}
    for path in ("/admin/keys", "/admin/learners/birds/live", "/admin/learners/birds/classes"):
        answer = client.post(path, content=b"&" * 1000, headers=headers | FORM)
        assert answer.status_code == 403, "the form was read, and has too many fields"
