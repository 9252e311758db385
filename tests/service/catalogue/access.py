"""Rows 92 to 118: addresses, keys, and the state a request finds."""

import threading
import time
from functools import partial

import httpx
from sqlalchemy import select

from registry.tables import IdempotencyRow, LearnerRow
from tests.factories import make_image
from tests.service.catalogue.documents import PREDICT, TASK, labelled
from tests.service.catalogue.rows import Case, Row, accepted, refused
from tests.service.catalogue.wire import MARKER, Answer
from tests.waiting import wait_until

NOBODY = "tsk_00000000000000000000000000"


def get(name, path, code, why="", **options) -> Case:
    """A GET that is refused."""
    return refused(
        name,
        lambda wire: wire.send("GET", path.format(learner=wire.taught), **options),
        code,
        why=why,
    )


def _with_key(role=None, header=None, query=""):
    def send(wire):
        headers = {} if header is None else {"Authorization": header}
        return wire.send("GET", "/v1/learners" + query, role=role, headers=headers)

    return send


def _revoked(wire):
    created = wire.json("POST", "/v1/keys", {"name": "to revoke", "role": "reader"}).json()
    assert wire.send("DELETE", f"/v1/keys/{created['id']}").status == httpx.codes.OK
    header = {"Authorization": f"Bearer {created['key']}"}
    answer = wire.send("GET", "/v1/learners", role=None, headers=header)
    assert created["key"] not in answer.text
    return answer


def _key_in_the_query(wire):
    return wire.send("GET", f"/v1/learners?key={wire.keys['admin']}", role=None)


def _asks_for_a_key(wire, answer):
    assert answer.headers["www-authenticate"].startswith("Bearer")


def _names_methods(wire, answer):
    assert answer.headers["allow"]


def _says_when(wire, answer):
    assert int(answer.headers["retry-after"]) >= 1


def _method(name, method, path="/v1/learners") -> Case:
    return refused(
        name, lambda wire: wire.send(method, path), "method-not-allowed", then=_names_methods
    )


def _raw_method(method):
    return lambda wire: wire.raw(wire.head("/v1/learners", method=method) + b"\r\n")


def _connect(wire):
    return wire.raw(wire.head("127.0.0.1:80", method="CONNECT") + b"\r\n")


def _idempotent(wire, key, body=b'{"name": "k", "role": "reader"}'):
    return wire.json("POST", "/v1/keys", body, headers={"Idempotency-Key": key})


def _reused(wire):
    key = f"reused-{time.monotonic_ns()}"
    first = _idempotent(wire, key)
    assert first.status == httpx.codes.CREATED
    return _idempotent(wire, key, b'{"name": "other", "role": "reader"}')


def _while_the_first_runs(wire):
    """The first upload waits for a lock on its learner; the second finds its key taken."""
    learner = wire.new_learner()
    options = {"headers": {"Idempotency-Key": f"running-{time.monotonic_ns()}"}}
    files = [("images", (f"heron/{i}.png", make_image("heron", i))) for i in range(3)]
    path = f"/v1/learners/{learner}/tasks"
    answers: list[Answer] = []
    sessions = wire.app.state.context.session_factory
    with sessions() as session:
        session.execute(select(LearnerRow.id).where(LearnerRow.name == learner).with_for_update())
        first = threading.Thread(
            target=lambda: answers.append(wire.send("POST", path, files=files, **options))
        )
        first.start()
        wait_until(lambda: _is_reserved(sessions, options["headers"]["Idempotency-Key"]))
        second = wire.send("POST", path, files=files, **options)
    first.join()
    assert answers[0].status == httpx.codes.ACCEPTED, answers[0].text
    return second


def _is_reserved(sessions, key):
    with sessions() as session:
        return session.scalar(select(IdempotencyRow.key).where(IdempotencyRow.key == key)) == key


def _move_alias(wire, version, match=None):
    headers = {} if match is None else {"If-Match": match}
    path = f"/v1/learners/{wire.taught}/aliases/live"
    return wire.json("PUT", path, {"version": version}, headers=headers)


def _publish(wire):
    task = wire.send("GET", f"/v1/learners/{wire.taught}/tasks").json()["items"][0]["id"]
    return wire.send("POST", f"/v1/tasks/{task}/publish")


def _before_any_version(wire):
    path = f"/v1/learners/{wire.new_learner()}/predictions"
    headers = {"Content-Type": "image/png"}
    return wire.send("POST", path, content=make_image(), headers=headers)


def _over_quota(wire):
    """A trainer whose key may post nothing more."""
    body = {"name": "small", "role": "trainer", "quotas": {"tasks_per_day": 1}}
    created = wire.json("POST", "/v1/keys", body)
    assert created.status == httpx.codes.CREATED, created.text
    wire.keys["small"] = created.json()["key"]
    learner = wire.new_learner()
    files = [("images", (f"heron/{i}.png", make_image("heron", i))) for i in range(3)]
    path = f"/v1/learners/{learner}/tasks"
    first = wire.send("POST", path, files=files, role="small")
    assert first.status == httpx.codes.ACCEPTED, first.text
    return wire.send("POST", path, files=files, role="small")


def _too_fast(quota, request):
    def send(wire):
        created = wire.json(
            "POST", "/v1/keys", {"name": "slow", "role": "trainer", "quotas": {quota: 5}}
        )
        assert created.status == httpx.codes.CREATED, created.text
        wire.keys["slow"] = created.json()["key"]
        for _ in range(20):
            answer = request(wire)
            if answer.status == httpx.codes.TOO_MANY_REQUESTS:
                break
        return answer

    return send


def _too_many_classes(wire):
    settings = wire.app.state.context.settings
    with wire.changed(settings, "max_classes", 2):
        return labelled(wire, "heron", "egret", "ibis")


def _upload_without_database(wire):
    with wire.without_database():
        return wire.upload_to(wire.taught, "ibis")


def _predict_without_database(wire):
    with wire.without_database():
        return wire.predict(make_image())


def _decoder_is_full(wire):
    """As if more images waited than can be decoded in time."""
    decoder = wire.app.state.context.decoder
    with wire.changed(decoder, "_max_wait_s", -1.0):
        return wire.predict(make_image())


def _uploads_are_full(wire):
    uploads = wire.app.state.context.decoder.uploads.slots
    slots = [object() for _ in range(int(uploads.total_tokens))]
    for slot in slots:
        uploads.acquire_on_behalf_of_nowait(slot)
    try:
        return wire.upload()
    finally:
        for slot in slots:
            uploads.release_on_behalf_of(slot)


def _disk_is_full(wire):
    settings = wire.app.state.context.settings
    with wire.changed(settings, "min_free_bytes", 2**60):
        return wire.upload()


def _wrong_digest(path, kind, body):
    def send(wire):
        headers = {"Content-Type": kind, "Content-Digest": f"sha-256=:{'A' * 43}=:"}
        where = path.format(learner=wire.taught)
        return wire.send("POST", where, content=body, headers=headers)

    return send


URLS = (
    "http://169.254.169.254/latest", "http://localhost/", "http://[::1]/", "http://10.0.0.1/", "file:///etc/passwd",
    "gopher://x/", "http://0x7f.1/",
)  # fmt: skip


def _image_url(wire, url):
    sample = {"label": "a", "image": {"url": url}}
    return wire.json("POST", f"/v1/learners/{wire.taught}/tasks", {"samples": [sample]})


def _logged_in(wire):
    """Return the cookie of a session in the dashboard."""
    headers = {"Sec-Fetch-Site": "same-origin", "Content-Type": "application/x-www-form-urlencoded"}
    body = f"key={wire.keys['admin']}".encode()
    answer = wire.send("POST", "/admin/login", content=body, headers=headers, role=None)
    assert answer.status == httpx.codes.SEE_OTHER, answer.text
    return answer.headers["set-cookie"].split(";")[0]


def _cross_site(headers):
    def send(wire):
        cookie = {"Cookie": _logged_in(wire), "Accept": "application/json"}
        return wire.send(
            "POST", f"/admin/tasks/{NOBODY}/cancel", role=None, headers={**cookie, **headers}
        )

    return send


def _preflight(wire):
    headers = {"Origin": f"https://{MARKER}.example", "Access-Control-Request-Method": "POST"}
    return wire.send("OPTIONS", "/v1/learners", role=None, headers=headers)


def _no_cors(wire, answer):
    assert not any(name.startswith("access-control") for name in answer.headers)


LEARNER_LIST = "/v1/learners?"
ROWS: dict[int, Row] = {
    92: (
        "unknown id",
        [
            get("task", f"/v1/tasks/{NOBODY}", "task-not-found"),
            get("learner", f"/v1/learners/{MARKER}", "learner-not-found"),
            get("sample", "/v1/samples/smp_00000000/image", "sample-not-found"),
            get("prediction", "/v1/predictions/prd_00000000", "prediction-not-found"),
            refused(
                "key", lambda wire: wire.send("DELETE", "/v1/keys/000000000000"), "key-not-found"
            ),
        ],
    ),
    93: (
        "no id at all",
        [
            get("text", f"/v1/tasks/{MARKER}", "validation"),
            get("%00", "/v1/learners/%00", "validation"),
            get("%2e%2e", "/v1/learners/%2e%2e%2f%2e%2e%2fetc", "not-found"),
            get("5,000 digits", "/v1/tasks/" + "9" * 5000, "validation"),
            get("%ff", "/v1/learners/%ff", "validation"),
        ],
    ),
    94: (
        "pages",
        [
            *(get(f"limit={n}", f"{LEARNER_LIST}limit={n}", "validation") for n in (-1, 0, 10**9)),
            get("cursor", f"{LEARNER_LIST}cursor={MARKER}", "invalid-cursor"),
            get("cursor %00", f"{LEARNER_LIST}cursor=%00", "invalid-cursor"),
        ],
    ),
    95: (
        "filters",
        [
            get("status", f"/v1/tasks?status={MARKER}", "validation"),
            get("status of SQL", "/v1/tasks?status=queued'%20OR%201=1--", "validation"),
            get("since", f"/v1/learners/{{learner}}/predictions?since={MARKER}", "validation"),
            accepted(
                "label of SQL",
                lambda wire: wire.send("GET", f"{wire.predictions}?label='%20OR%201=1--"),
                200,
                then=lambda wire, answer: _is_empty(answer),
                why="a label may be any text: it matches nothing",
            ),
            accepted(
                "sort",
                lambda wire: wire.send("GET", f"{LEARNER_LIST}sort=name;DROP%20TABLE"),
                200,
                why="there is no sorting, and parameters nobody knows are ignored, as HTTP does",
            ),
        ],
    ),
    96: (
        "no valid key",
        [
            refused("none", _with_key(), "unauthorized", then=_asks_for_a_key),
            refused(
                "unknown", _with_key(header=f"Bearer fil_000000000000_{MARKER}"), "unauthorized"
            ),
            refused("no key of ours", _with_key(header=f"Bearer {MARKER}"), "unauthorized"),
            refused("other scheme", _with_key(header="Basic eHl6enk6Y2FuYXJ5"), "unauthorized"),
            refused("revoked", _revoked, "unauthorized"),
            refused("in the query", _key_in_the_query, "unauthorized"),
        ],
    ),
    97: (
        "role too low",
        [
            refused(
                "reader creates",
                lambda wire: wire.json("POST", "/v1/learners", {}, role="reader"),
                "forbidden",
            ),
            refused(
                "reader predicts",
                lambda wire: wire.predict(make_image(), role="reader"),
                "forbidden",
            ),
            refused(
                "predictor teaches",
                lambda wire: wire.send(
                    "POST", f"/v1/learners/{wire.taught}/tasks", content=b"x", role="predictor"
                ),
                "forbidden",
            ),
            refused(
                "trainer lists keys",
                lambda wire: wire.send("GET", "/v1/keys", role="trainer"),
                "forbidden",
            ),
            refused(
                "trainer deletes",
                lambda wire: wire.send("DELETE", f"/v1/learners/{wire.taught}", role="trainer"),
                "forbidden",
            ),
        ],
    ),
    98: (
        "wrong method",
        [
            _method("PUT", "PUT"),
            _method("TRACE", "TRACE"),
            _method("PATCH on a list", "PATCH"),
            refused("CONNECT", _connect, "malformed-request", why="refused by the parser"),
            refused(
                "lower case", _raw_method("get"), "malformed-request", why="refused by the parser"
            ),
            refused(
                "_private", _raw_method("_start"), "malformed-request", why="refused by the parser"
            ),
        ],
    ),
    99: (
        "Accept: text/xml",
        [get("J", "/v1/learners", "not-acceptable", headers={"Accept": "text/xml"})],
    ),
    100: (
        "bad Idempotency-Key",
        [
            refused(
                "300 characters", partial(_idempotent, key="x" * 300), "idempotency-key-invalid"
            ),
            refused("not ASCII", partial(_idempotent, key=b"caf\xe9"), "idempotency-key-invalid"),
            refused("a space", partial(_idempotent, key="a b"), "idempotency-key-invalid"),
            refused("empty", partial(_idempotent, key=""), "idempotency-key-invalid"),
        ],
    ),
    101: ("key reused", [refused("J", _reused, "idempotency-key-reused")]),
    102: (
        "key in use",
        [refused("U", _while_the_first_runs, "idempotency-in-progress", then=_says_when)],
    ),
    103: (
        "old If-Match",
        [refused("A", partial(_move_alias, version=1, match='"77"'), "precondition-failed")],
    ),
    104: (
        "what cannot be published",
        [
            refused(
                "version nobody made",
                partial(_move_alias, version=99),
                "version-not-found",
                why="404: the version is not there; one that was erased is 409",
            ),
            refused("task that is not held", _publish, "task-not-held"),
        ],
    ),
    105: (
        "predict before anything is learned",
        [refused("P", _before_any_version, "nothing-learned")],
    ),
    106: (
        "class of one image",
        [
            refused(
                "U",
                lambda wire: labelled(wire, "heron", n=1),
                "too-few-images",
                why="api.md: one class with fewer than `min_images` is a problem",
            )
        ],
    ),
    107: (
        "quota",
        [
            refused("tasks", _over_quota, "rate-limited", then=_says_when),
            refused("one class too many", _too_many_classes, "quota-exceeded"),
        ],
    ),
    108: (
        "too many requests",
        [
            refused(
                "P",
                _too_fast(
                    "predict_images_per_minute",
                    lambda wire: wire.predict(make_image(), role="slow"),
                ),
                "rate-limited",
                then=_says_when,
            ),
            refused(
                "changes",
                _too_fast(
                    "changes_per_minute",
                    lambda wire: wire.json("POST", "/v1/learners", {}, role="slow"),
                ),
                "rate-limited",
                then=_says_when,
            ),
        ],
    ),
    109: (
        "full queues",
        [
            refused("P", _decoder_is_full, "overloaded", then=_says_when),
            refused("U", _uploads_are_full, "overloaded", then=_says_when),
        ],
    ),
    110: (
        "database down",
        [
            refused("U", _upload_without_database, "storage-unavailable", then=_says_when),
            accepted("P", _predict_without_database, 200),
        ],
    ),
    111: ("disk full", [refused("U", _disk_is_full, "insufficient-storage", then=_says_when)]),
    112: (
        "wrong digest",
        [
            refused("P", _wrong_digest(PREDICT, "image/png", make_image()), "digest-mismatch"),
            refused("U", _wrong_digest(TASK, "application/zip", b"x" * 100), "digest-mismatch"),
            refused(
                "J", _wrong_digest("/v1/learners", "application/json", b"{}"), "digest-mismatch"
            ),
        ],
    ),
    113: (
        "image by URL",
        [
            refused(url, partial(_image_url, url=url), "validation", why="URLs are not fetched")
            for url in URLS
        ],
    ),
    114: (
        "cross-site request",
        [
            refused("Sec-Fetch-Site", _cross_site({"Sec-Fetch-Site": "cross-site"}), "csrf"),
            refused("Origin", _cross_site({"Origin": f"https://{MARKER}.example"}), "csrf"),
            refused("neither", _cross_site({}), "csrf"),
        ],
    ),
    115: (
        "preflight from elsewhere",
        [
            refused(
                "OPTIONS", _preflight, "unauthorized", then=_no_cors, why="no CORS: it has no key"
            )
        ],
    ),
}


def _is_empty(answer):
    assert answer.json()["items"] == []
