"""Requests nobody should send: each gets its problem, none a 5xx, and none is echoed."""

import json

import pytest

from service.problems import PROBLEMS
from tests.factories import make_image
from tests.service.api import image_files
from tests.service.bad_images import ACCEPTED, REFUSED

CANARY = "xyzzy-canary"
LEAKS = ("Traceback", "site-packages", "SELECT", "INSERT", "psycopg", "/usr/", CANARY)


def check(answer, status, code):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["code"] == code
    assert problem["type"] == f"/problems/{code}"
    assert problem["status"] == status == PROBLEMS[code].status
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert not any(leak in answer.text for leak in LEAKS), answer.text
    return problem


LEARNER = {"name": "birds", "strategy": "simplecil", "backbone": "tiny"}


BAD_LEARNERS = [
    ([], "validation"),
    ("text", "validation"),
    (7, "validation"),
    ({}, "validation"),
    ({**LEARNER, "colour": CANARY}, "validation"),
    ({**LEARNER, "__proto__": {}}, "validation"),
    ({**LEARNER, "name": "Birds"}, "validation"),
    ({**LEARNER, "name": "-x"}, "validation"),
    ({**LEARNER, "name": "x" * 64}, "validation"),
    ({**LEARNER, "name": {"$gt": ""}}, "validation"),
    ({**LEARNER, "name": "birds\n"}, "validation"),
    ({**LEARNER, "metadata": {"a": "x" * 20_000}}, "validation"),
    ({**LEARNER, "metadata": {"a": "\0"}}, "validation"),
    ({**LEARNER, "metadata": []}, "validation"),
    ({**LEARNER, "strategy": CANARY}, "unknown-strategy"),
    ({**LEARNER, "strategy": "a\u202eb"}, "validation"),
    ({**LEARNER, "backbone": CANARY}, "unknown-backbone"),
    ({**LEARNER, "backbone": "../../etc/passwd"}, "unknown-backbone"),
    ({**LEARNER, "config": {"epochs": 2}}, "invalid-config"),
    ({**LEARNER, "strategy": "artsy", "config": {"epochs": "many"}}, "invalid-config"),
    ({**LEARNER, "strategy": "artsy", "config": {"epochs": 2**70}}, "invalid-config"),
    ({**LEARNER, "strategy": "artsy", "config": {"epochs": -1}}, "invalid-config"),
    ({**LEARNER, "config": 5}, "validation"),
]


def test_bad_learners(client, subtests):
    for body, code in BAD_LEARNERS:
        with subtests.test(body=body):
            check(client.post("/v1/learners", json=body), PROBLEMS[code].status, code)


MALFORMED = [
    b"",
    b"{",
    b'{"name": NaN}',
    b'{"name": "\\ud800"}',
    b"[" * 100_000,
    b"\xff",
    b'{"a":' + b"9" * 9000 + b"}",
]


@pytest.mark.parametrize("path", ["/v1/learners", "/v1/keys", "/v1/learners/birds/predictions"])
def test_malformed_json(client, taught, path, subtests):
    for body in MALFORMED:
        with subtests.test(body=body[:40]):
            answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
            check(answer, 400, "malformed-json")


def test_a_mistyped_hyperparameter_gets_the_nearest_name(client):
    body = {**LEARNER, "strategy": "finetune", "config": {"epoch": 3}}
    problem = check(client.post("/v1/learners", json=body), 422, "invalid-config")
    assert "`epochs`" in problem["detail"]
    assert problem["errors"][0]["pointer"] == "/config/epoch"


BAD_ADDRESSES = [
    ("GET", "/v1/learners/nobody", 404, "learner-not-found"),
    ("GET", "/v1/learners/%00", 422, "validation"),
    ("GET", "/v1/learners/%ff", 422, "validation"),
    ("GET", "/v1/learners/..%2f..%2fetc", 404, "not-found"),
    ("GET", "/v1/tasks/tsk_00000000000000000000000000", 404, "task-not-found"),
    ("GET", "/v1/tasks/5", 422, "validation"),
    ("GET", "/v1/tasks/" + "9" * 5000, 422, "validation"),
    ("GET", "/v1/samples/smp_00000000/image", 404, "sample-not-found"),
    ("GET", "/v1/predictions/prd_00000000", 404, "prediction-not-found"),
    ("DELETE", "/v1/keys/000000000000", 404, "key-not-found"),
    ("GET", "/v1/learners?limit=0", 422, "validation"),
    ("GET", "/v1/learners?limit=-1", 422, "validation"),
    ("GET", "/v1/learners?limit=1000000000", 422, "validation"),
    ("GET", "/v1/learners?cursor=" + CANARY, 422, "invalid-cursor"),
    ("GET", "/v1/learners?cursor=%00", 422, "invalid-cursor"),
    ("GET", "/v1/tasks?status=" + CANARY, 422, "validation"),
    ("GET", "/v1/tasks/tsk_00000000000000000000000000?wait=1e400", 422, "validation"),
    ("GET", "/v1/tasks/tsk_00000000000000000000000000?wait=nan", 422, "validation"),
    ("GET", "/v1/learners/birds/versions/99", 404, "version-not-found"),
    ("GET", "/v1/learners/birds/versions/4294967296", 422, "validation"),
    ("GET", "/v1/learners/birds/predictions?label=%00", 422, "validation"),
    ("GET", "/v1/learners/birds/predictions?since=yesterday", 422, "validation"),
    ("GET", "/v1/learners/birds/accuracy?format=xml", 422, "validation"),
    ("GET", "/problems/" + CANARY, 404, "not-found"),
    ("GET", "/nothing", 404, "not-found"),
    ("PUT", "/v1/learners", 405, "method-not-allowed"),
    ("TRACE", "/v1/learners", 405, "method-not-allowed"),
    ("GET", "/v1/" + "a" * 9000, 414, "uri-too-long"),
]


def test_bad_addresses(client, birds, subtests):
    for method, path, status, code in BAD_ADDRESSES:
        with subtests.test(method=method, path=path[:80]):
            answer = client.request(method, path)
            check(answer, status, code)
            assert (status == 405) == ("allow" in answer.headers)


BAD_HEADERS = [
    ({"X-Long": "x" * 20_000}, 431, "headers-too-large"),
    ({f"X-{i}": "x" for i in range(100)}, 431, "headers-too-large"),
    ({"Host": "evil/path"}, 400, "bad-host"),
    ({"Host": "a b"}, 400, "bad-host"),
    ({"Host": ""}, 400, "bad-host"),
    ({"Content-Encoding": "gzip"}, 415, "unsupported-content-encoding"),
    ({"Content-Length": "99999999999999999999999"}, 413, "body-too-large"),
    ({"Content-Digest": f"sha-256=:{'A' * 43}=:"}, 400, "digest-mismatch"),
    ({"Content-Type": "text/plain"}, 415, "unsupported-media-type"),
    ({"Idempotency-Key": "x" * 300}, 400, "idempotency-key-invalid"),
    ({"Idempotency-Key": "a b"}, 400, "idempotency-key-invalid"),
]


def test_bad_headers(client, subtests):
    for headers, status, code in BAD_HEADERS:
        with subtests.test(code=code):
            headers = {"Content-Type": "application/json", **headers}
            answer = client.post("/v1/learners", content=json.dumps(LEARNER), headers=headers)
            check(answer, status, code)


def test_a_long_body_is_refused_while_it_comes(client):
    chunks = (b" " * 65_536 for _ in range(1000))
    answer = client.post(
        "/v1/learners", content=chunks, headers={"Content-Type": "application/json"}
    )
    check(answer, 413, "body-too-large")


def test_predict_refuses_the_bad_images(client, taught, subtests):
    for case, (data, refusal) in REFUSED.items():
        code = "body-too-large" if refusal == "image-too-large" else refusal
        with subtests.test(case=case):
            url = f"/v1/learners/{taught}/predictions"
            answer = client.post(url, content=data, headers={"Content-Type": "image/png"})
            check(answer, PROBLEMS[code].status, code)


def test_learning_refuses_the_same_images_by_name_and_learns_nothing(client, birds):
    files = image_files(("heron", "egret"))
    files += [
        ("images", (f"heron/{case}.jpg", data, "image/jpeg")) for case, (data, _) in REFUSED.items()
    ]
    answer = client.post(f"/v1/learners/{birds}/tasks", files=files)
    problem = check(answer, 422, "images-rejected")
    assert [(e["index"], e["filename"], e["code"]) for e in problem["errors"]] == [
        (12 + i, f"{case}.jpg".rsplit("/", 1)[-1], code)
        for i, (case, (_, code)) in enumerate(REFUSED.items())
    ]
    assert client.get("/v1/tasks").json()["items"] == []
    skipped = client.post(f"/v1/learners/{birds}/tasks?on_bad_image=skip", files=files)
    assert skipped.status_code == 202, skipped.text
    assert [image["problem"] for image in skipped.json()["rejected"]] == [
        c for _, c in REFUSED.values()
    ]
    assert skipped.json()["samples"] == {"train": 10, "eval": 2}


def test_odd_images_are_learned_from(client, birds):
    files = [("images", (f"odd/{case}", data, "image/png")) for case, data in ACCEPTED.items()]
    answer = client.post(f"/v1/learners/{birds}/tasks", files=files)
    assert answer.status_code == 202, answer.text


BOUNDARY = "----b"
PART = (
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="images"; filename="heron/a.png"\r\n\r\n'.encode()
    + make_image()
    + b"\r\n"
)
END = f"--{BOUNDARY}--\r\n".encode()
FORM = f"multipart/form-data; boundary={BOUNDARY}"


def _field(name, value="x", extra=b""):
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n'.encode()
    return head + extra + f"\r\n{value}\r\n".encode()


BAD_UPLOADS = [
    ("multipart/form-data", PART + END, 400, "malformed-multipart"),
    ("multipart/form-data; boundary=", PART + END, 400, "malformed-multipart"),
    ("multipart/form-data; boundary=" + "x" * 300, PART + END, 400, "malformed-multipart"),
    ("multipart/form-data; boundary=other", PART + END, 400, "malformed-multipart"),
    (FORM, PART, 400, "malformed-multipart"),
    (FORM, PART[:-30], 400, "malformed-multipart"),
    (FORM, b"", 400, "malformed-multipart"),
    (FORM, END, 422, "missing-image"),
    (FORM, PART.replace(b'name="images"; ', b"") + END, 400, "malformed-multipart"),
    (FORM, _field("labels", extra=b"X: y\r\n" * 20) + END, 400, "malformed-multipart"),
    (
        FORM,
        _field("labels", extra=b"X: " + b"y" * 10_000 + b"\r\n") + END,
        400,
        "malformed-multipart",
    ),
    (FORM, _field("labels", "x" * 70_000) + END, 413, "part-too-large"),
    (FORM, _field("images") + END, 422, "validation"),
    (FORM, _field("colour", CANARY) + PART + END, 422, "validation"),
    (FORM, PART.replace(b"images", b"labels") + END, 422, "validation"),
    (FORM, PART.replace(b"heron/", b"") + END, 422, "validation"),
    (FORM, PART + _field("labels", " ") + END, 422, "label-invalid"),
    (FORM, PART + _field("labels", "a\x00b") + END, 422, "label-invalid"),
    (FORM, PART + _field("labels", "x" * 129) + END, 422, "label-too-long"),
    (
        FORM,
        PART + _field("labels", "\xff".encode("latin-1").decode("latin-1")) + END,
        422,
        "too-few-images",
    ),
    (FORM, PART + _field("options", "{") + END, 400, "malformed-json"),
    (FORM, PART + _field("options", "[]") + END, 422, "validation"),
    (FORM, PART + _field("options", '{"mode": "x"}') + END, 422, "validation"),
    (FORM, PART + _field("options", '{"eval_fraction": 1e400}') + END, 422, "validation"),
    (FORM, PART + _field("options", '{"config": {"x": 1}}') + END, 422, "invalid-config"),
    (FORM, PART + _field("manifest", '{"b.png": {"label": "x"}}') + END, 422, "validation"),
    (
        FORM,
        PART + _field("manifest", '{"heron/a.png": {"label": "\\u202e"}}') + END,
        422,
        "validation",
    ),
    (FORM, PART + END, 422, "too-few-images"),
    ("text/plain", b"x", 415, "unsupported-media-type"),
    ("application/x-www-form-urlencoded", b"a=b&" * 1000, 415, "unsupported-media-type"),
    ("", b"x", 415, "unsupported-media-type"),
    ("application/zip", b"not a zip", 422, "archive-rejected"),
    ("application/x-tar", b"not a tar" * 200, 422, "archive-rejected"),
    ("application/gzip", b"\x1f\x8b" + b"x" * 50, 422, "archive-rejected"),
    ("application/zip", b"", 422, "archive-rejected"),
    ("application/json", b"[]", 422, "validation"),
    ("application/json", b'{"samples": []}', 422, "missing-image"),
    (
        "application/json",
        b'{"samples": [{"label": "a", "image": {"base64": "%%"}}]}',
        422,
        "validation",
    ),
    (
        "application/json",
        b'{"samples": [{"label": "a", "image": {"url": "http://x"}}]}',
        422,
        "validation",
    ),
]


def test_bad_uploads(client, birds, subtests):
    for kind, body, status, code in BAD_UPLOADS:
        with subtests.test(kind=kind[:50], body=body[:80]):
            answer = client.post(
                f"/v1/learners/{birds}/tasks", content=body, headers={"Content-Type": kind}
            )
            check(answer, status, code)
            assert client.get("/v1/tasks").json()["items"] == []


BAD_OPTIONS = [
    ("top_k=0", "validation"),
    ("top_k=1e9", "validation"),
    ("trace=everything", "validation"),
    ("version=0", "validation"),
    ("version=4294967296", "validation"),
    ("version=7", "version-not-found"),
    ("store=perhaps", "validation"),
]


def test_bad_prediction_options(client, taught, subtests):
    for query, code in BAD_OPTIONS:
        with subtests.test(query=query):
            answer = client.post(
                f"/v1/learners/{taught}/predictions?{query}",
                content=make_image(),
                headers={"Content-Type": "image/png"},
            )
            check(answer, PROBLEMS[code].status, code)
