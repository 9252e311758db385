"""`Accept`: what is read, and what is refused before a body is read."""

import pytest

from service.http.accept import MAX_RANGES, choose

JSON = "application/json"


@pytest.mark.parametrize(
    ("header", "offered", "chosen"),
    [
        ("", [JSON], JSON),
        ("*/*", [JSON], JSON),
        ("application/*", [JSON], JSON),
        ("APPLICATION/JSON", [JSON], JSON),
        ("application/json; charset=utf-8", [JSON], JSON),
        ("text/xml, application/json;q=0.1", [JSON], JSON),
        ("text/xml", [JSON], None),
        ("application/problem+json", [JSON], None),
        ("text/*", [JSON], None),
        ("*/*;q=0", [JSON], None),
        ("application/json;q=0, */*", [JSON], None),
        ("application/*;q=0, application/json", [JSON], JSON),
        ("application/*, application/json;q=0.0", [JSON], None),
        ("text/event-stream, application/json;q=0.9", ["text/event-stream", JSON], "text/event-stream"),
        ("text/event-stream;q=0.5, application/json", ["text/event-stream", JSON], JSON),
        ("*/*", ["text/event-stream", JSON], "text/event-stream"),
        ("application/*;q=0.2, text/event-stream;q=0.1", ["text/event-stream", JSON], JSON),
        # What cannot be understood excludes nothing, and takes nothing from what can.
        ("nonsense", [JSON], JSON),
        ("*/json", [JSON], JSON),
        ("application/json;q=high", [JSON], JSON),
        ("application/json;q=2, text/xml", [JSON], None),
        (", ,", [JSON], JSON),
        ("application/json;q=nan", [JSON], JSON),
    ],
)  # fmt: skip
def test_choose(header, offered, chosen):
    assert choose(header, offered) == chosen


def test_a_header_of_many_entries_costs_little():
    assert choose("text/x," * MAX_RANGES + JSON, [JSON]) is None


def test_what_excludes_json_is_refused_before_the_body_is_read(client):
    headers = {"Accept": "text/xml", "Content-Type": JSON}
    answer = client.post("/v1/learners", content=b"{", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (406, "not-acceptable")
    assert answer.headers["content-type"] == "application/problem+json"
    # The same body, with an Accept that takes the answer, is read and found to be wrong.
    answer = client.post("/v1/learners", content=b"{", headers={"Content-Type": JSON})
    assert answer.json()["code"] == "malformed-json"


def test_each_kind_of_answer_has_its_own_type(client, taught, subtests):
    task = client.get(f"/v1/learners/{taught}/tasks").json()["items"][0]["id"]
    sample = client.get(f"/v1/tasks/{task}/samples").json()["items"][0]["id"]
    accuracy = f"/v1/learners/{taught}/accuracy"
    for path, accept, status, kind in (
        (f"/v1/samples/{sample}/image", "image/*", 200, "image/png"),
        (f"/v1/samples/{sample}/image", "image/png", 200, "image/png"),
        (f"/v1/samples/{sample}/image", JSON, 406, "application/problem+json"),
        (f"/v1/learners/{taught}/versions/1/bundle", "application/x-tar", 200, "application/x-tar"),
        (f"/v1/learners/{taught}/versions/1/bundle", JSON, 406, "application/problem+json"),
        (f"/v1/tasks/{task}/events", "text/event-stream", 200, "text/event-stream"),
        (f"/v1/tasks/{task}/events", JSON, 200, JSON),
        (f"/v1/tasks/{task}/events", f"{JSON}, text/event-stream;q=0.1", 200, JSON),
        (f"/v1/tasks/{task}/events", "text/html", 406, "application/problem+json"),
        (accuracy, JSON, 200, JSON),
        (accuracy, "text/csv", 200, "text/csv"),
        (f"{accuracy}?format=csv", "*/*", 200, "text/csv"),
        (f"{accuracy}?format=csv", JSON, 406, "application/problem+json"),
        (f"{accuracy}?format=json", "text/csv", 406, "application/problem+json"),
        ("/metrics", "text/plain;version=0.0.4;q=0.5,*/*;q=0.1", 200, "text/plain"),
        ("/metrics", JSON, 406, "application/problem+json"),
        ("/docs", "text/html", 200, "text/html"),
        ("/problems/validation", "text/html", 200, "text/html"),
        ("/v1/learners", "text/html,application/xhtml+xml,*/*;q=0.8", 200, JSON),
        ("/v1/nothing", "text/xml", 404, "application/problem+json"),
        ("/livez", "image/png", 406, "application/problem+json"),
    ):
        with subtests.test(path=path, accept=accept):
            answer = client.get(path, headers={"Accept": accept})
            assert answer.status_code == status
            assert answer.headers["content-type"].split(";")[0] == kind


def test_what_answers_nothing_takes_any_accept(client, birds):
    assert client.delete(f"/v1/learners/{birds}", headers={"Accept": "text/xml"}).status_code == 204


def test_a_key_is_asked_for_before_the_media_type(client, app):
    client.headers.pop("Authorization")
    assert client.get("/v1/learners", headers={"Accept": "text/xml"}).status_code == 401
