"""Every operation of the schema with made-up junk: whatever comes in, the answer is never a 5xx."""

import random
import re
import warnings

import httpx2

from benchmarks.contract_fuzz import fuzz, served
from service.app import create_app

JUNK_TEXT = [
    "", "x", "birds", "0", "-1", "1e999", "nan", "NaN", "null", "true", "[]", "{}", "2147483648", "9" * 40, "\u202e",
    "\x00", "\ud7ff", "🦩", "../..", "%", "%00", "%ff", "'", '"', "' OR 1=1--", "<script>", "x" * 3000, " ", "\n", "*",
    "tsk_00000000000000000000000000", "smp_00000000", "prd_00000000", "latest", "live", "1", "2",
]  # fmt: skip
JUNK_JSON = [
    b"", b"{}", b"[]", b"null", b"0", b'""', b"{", b"[[[[", b'{"name": 5}', b'{"name": "birds"}', b'{"version": 1}',
    b'{"version": 99999999999}', b'{"version": 1.5}', b'{"version": "1"}', b'{"metadata": {"a": [1e300, {}]}}',
    b'{"metadata": null}', b'{"name": "x", "role": "god"}', b'{"name": "\\u0000", "role": "reader"}',
    b'{"images": []}', b'{"images": [{"base64": ""}]}', b'{"images": [{"base64": 5}]}', b'{"images": [{}]}',
    b'{"samples": [{"label": "", "image": {"base64": ""}}]}', b'{"samples": {}}', b'{"samples": [5]}',
    b'{"samples": [{"label": "a", "image": {"base64": ""}}], "options": []}', b"\xff\xfe", b"NaN", b"1" * 5000,
    b'{"name": "x", "config": {"": 1}}', b'{"name": "x", "config": {"a": {"b": [1, 2]}}}',
]  # fmt: skip
KINDS = [
    "application/json",
    "multipart/form-data; boundary=b",
    "application/zip",
    "image/png",
    "text/plain",
    "",
]
HEADERS = [
    "If-Match",
    "Last-Event-ID",
    "Idempotency-Key",
    "Accept",
    "Range",
    "X-Request-Id",
    "Cookie",
]


def test_junk_is_never_our_fault(client, taught, app):
    rng = random.Random(1)
    operations = [
        (method.upper(), path, operation)
        for path, found in app.openapi()["paths"].items()
        for method, operation in found.items()
    ]
    # Streams and long polls end by themselves: the learner's only task has.
    statuses = set()
    for _ in range(25):
        for method, path, operation in operations:
            if (method, path) == ("DELETE", "/v1/keys/{key_id}"):
                continue
            url = re.sub(r"{\w+}", lambda _: rng.choice([taught, "1", rng.choice(JUNK_TEXT)]), path)
            query = {
                parameter["name"]: rng.choice(JUNK_TEXT)
                for parameter in operation.get("parameters", [])
                if parameter["in"] == "query" and parameter["name"] != "wait" and rng.random() < 0.4
            }
            headers = {"Content-Type": rng.choice(KINDS)}
            if rng.random() < 0.3:
                value = (
                    rng.choice(JUNK_TEXT)
                    .encode("utf-8", "replace")
                    .replace(b"\n", b"")
                    .replace(b"\0", b"")
                )
                headers[rng.choice(HEADERS)] = value[:200]
            body = rng.choice(JUNK_JSON) if method in ("POST", "PUT", "PATCH") else None
            if method == "DELETE" and path == "/v1/learners/{name}":
                url = "/v1/learners/nobody"
            try:
                answer = client.request(method, url, params=query, content=body, headers=headers)
            except (UnicodeEncodeError, ValueError, httpx2.InvalidURL):
                continue  # the client itself cannot send it
            statuses.add(answer.status_code)
            assert answer.status_code < 500, (method, url, query, headers, body, answer.text)
            if answer.status_code >= 400:
                assert answer.headers["content-type"] == "application/problem+json"
    assert {200, 400, 404, 415, 422} <= statuses


def test_generated_requests_find_no_violation_of_the_schema(
    settings, session_factory, blobs, role_keys, taught
):
    """A few hundred; `python -m benchmarks.contract_fuzz` sends thousands."""
    settings = settings.model_copy(update={"port": 0})
    app = create_app(
        settings, session_factory, blobs
    )  # on a socket, beside the one that was taught
    with served(app, settings) as url, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tally = fuzz(app, url, role_keys, taught, cases=240, seed=7)
    assert tally.failures == []
    assert tally.n >= 200
    assert not [status for status in tally.statuses if status >= "500"]
    assert set(tally.roles) == {*role_keys, "none"}
