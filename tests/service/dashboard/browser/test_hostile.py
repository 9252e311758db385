"""The dashboard against the web, in a real browser: text that wants to be a script, and pages of other origins."""

import json
import threading
import time
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote

import pytest
from sqlalchemy import select

from registry import (
    audit,
    classes,
    deliveries,
    keys,
    learners,
    prediction_jobs,
    queue,
    review_acts,
    stored_images,
    subscriptions,
    tasks,
    versions,
    workers,
)
from registry.deliveries import NewMessage, Outcome
from registry.prediction_jobs import JobAnswer
from registry.samples import list_samples
from registry.schedule import Schedule
from registry.stored_images import NewJobImage, StoredImages
from registry.tables import TAUGHT, Row, SampleRow
from tests.factories import (
    keep_images,
    learn_at_once,
    make_image,
    make_job,
    make_learner,
    make_new_version,
    make_subscription,
    make_task,
)
from tests.factories import publish_task as publish_correction
from tests.service.dashboard.browser.chromium import EXECUTABLE
from tests.service.dashboard.published import publish_task
from tests.service.dashboard.routes_of import changing, pages
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(EXECUTABLE is None, reason="there is no Chromium on this machine"),
]

RAN = "globalThis.ran=1"
PAYLOADS = (
    f"<script>{RAN}</script>",
    f"</script><script>{RAN}</script>",
    f"<img src=x onerror={RAN}>",
    f'"><img src=x onerror="{RAN}">',
    f"'><svg onload='{RAN}'>",
    f"<svg><script>{RAN}</script></svg>",
    f"<iframe srcdoc='<script>parent.{RAN}</script>'>",
    f"<iframe src=javascript:{RAN}>",
    f'<a href="javascript:{RAN}">x</a>',
    f"javascript:{RAN}",
    f'" autofocus onfocus="{RAN}',
    f"<details open ontoggle={RAN}>",
    f"<input autofocus onfocus={RAN}>",
    f"<style>@import 'x'</style><body onload={RAN}>",
    f"</title><script>{RAN}</script>",
    f"</textarea></select><script>{RAN}</script>",
    f"{{{{constructor.constructor('{RAN}')()}}}}",
    f"${{{RAN}}}`-{RAN}-`",
    "<meta http-equiv=refresh content='0;url=javascript:0'><base href=//evil.example>",
    "__proto__",
    "constructor",
    "toString",
    "=cmd|'/c calc'!A1",
    "heron\u202eparc\u2066",
    "he\u200b\u200dron\ufeff",
    f"<math><mtext></form><form><mglyph><style></math><img src onerror={RAN}>",
)
WATCH = """
globalThis.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
  globalThis.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sample}`);
});
"""
STRANGE = """
const inert = ["value", "title", "aria-label", "data-known", "data-as"];
const strange = "iframe, base, math, object, embed, style, img[src='x'], img[src=''], meta[http-equiv]";
const scripts = "script:not([src]):not([type='application/json'])";
[...document.querySelectorAll("*")].filter((element) =>
  element.matches(`${strange}, ${scripts}`) || [...element.attributes].some((item) =>
    /^on/i.test(item.name) || (/^\\s*javascript:/i.test(item.value) && !inert.includes(item.name)))
).map((element) => element.outerHTML.slice(0, 200))
"""
"""What is on the page and should not be: elements and attributes that no template of ours has."""


@pytest.fixture
def page(chromium, site, role_keys):
    """A browser that has logged in as admin and tells whether a policy was broken."""
    chromium.look(width=1280)
    chromium.send("Network.clearBrowserCookies")
    watch = chromium.send("Page.addScriptToEvaluateOnNewDocument", source=WATCH)
    chromium.open(f"{site}/admin")
    chromium.evaluate(f"document.querySelector('#key').value = '{role_keys['admin']}'")
    chromium.evaluate("document.querySelector('main form').requestSubmit()")
    chromium.wait_until("location.pathname === '/admin'")
    chromium.messages.clear()
    yield chromium
    chromium.send("Page.removeScriptToEvaluateOnNewDocument", identifier=watch["identifier"])
    chromium.open("about:blank#")


@pytest.fixture
def hostile(session, blobs):
    """Everything a stranger can name, named by somebody hostile. Returns what goes into addresses."""
    make_learner(session, "birds", config={payload: payload for payload in PAYLOADS})
    learners.update_metadata(session, "birds", {payload: payload for payload in PAYLOADS})
    learner = learners.get_learner(session, "birds")
    plain = tuple(f"class {i}" for i in range(len(PAYLOADS)))
    confusion = {"1": {payload: dict.fromkeys(PAYLOADS, 1) for payload in PAYLOADS}}
    published = publish_task(
        session, blobs, "birds", PAYLOADS, [0.9], metrics={"confusion": confusion}, n_train=1
    )
    publish_task(session, blobs, "birds", plain, [0.8, 1.0], n_train=1, n_eval=1)
    for label, payload in zip(plain, PAYLOADS, strict=True):
        classes.rename(session, learner, label, f"name {payload}")
    for row, payload in zip(session.scalars(select(SampleRow)), PAYLOADS * 9, strict=False):
        row.filename = payload
    by = audit.Actor("0123456789ab", PAYLOADS[0], PAYLOADS[1])
    ended = [published]
    for number, payload in enumerate(PAYLOADS):
        keys.create_key(session, payload, "reader")
        details = {payload: payload, "name": {"before": payload, "after": payload}}
        audit.record(session, by, payload, learner=payload, subject=payload, details=details)
        workers.announce(
            session,
            payload,
            kind="local",
            host=payload,
            pid=1,
            device=payload,
            slots=1,
            version="0",
        )
        task = make_task(
            session, blobs, classes=(f"{number} {payload}",), n_train=1, n_eval=0, name=payload
        )
        task.status = ("queued", "failed", "held")[number % 3]
        task.error = {"code": payload, "detail": payload}
        task.rejected = [{"index": 0, "filename": payload, "problem": payload}]
        ended += [task] if number in (1, 2) else []
        task.findings = [{"code": payload, "detail": payload}]
    job_id = hostile_job(session, blobs, learner)
    kept = keep_images(session, blobs, learner, PAYLOADS[:20], names=PAYLOADS, rivals=PAYLOADS[1:])
    review_acts.name(session, learner.id, [(kept, 19)], "owl", key_id="k", act="act_00000000")
    subscription_id = hostile_subscriptions(session, learner)
    session.commit()
    return {
        "subscription_id": subscription_id,
        "ended": [task.id for task in ended],
        "job_id": job_id,
        "prediction_id": kept,
        "name": "birds",
        "number": "1",
        "sample_id": list_samples(session, published.id).items[0].id,
        "label:path": quote(plain[0]),
        "path:path": "nowhere",
    }


def hostile_subscriptions(session, learner):
    """Add subscriptions whose names, rules, messages and errors are hostile, and return the id of one."""
    for payload in PAYLOADS:
        one = make_subscription(session, labels=[payload], target=f"mqtt:{payload}")
        one.name = payload
        subscriptions.enable(session, one, is_enabled=False)
        one.disabled_reason = payload
    told = make_subscription(session, target="https://example.org")
    for payload in PAYLOADS:
        data = {"learner": payload, "results": [{"label": payload}], "version": payload}
        deliveries.add(session, [NewMessage(told.id, learner.id, "prediction.made", data)])
        deliveries.settle(
            session, deliveries.claim(session, 60), Outcome(500, 1, payload, is_gone=False)
        )
    told.disabled_at, told.disabled_reason = told.created_at, "It is off."
    return told.id


def hostile_job(session, blobs, learner):
    """Add a prediction job whose names, labels and problems are hostile, and return its id."""
    payloads = PAYLOADS[:24]  # what fits on a page
    images = [NewJobImage(payload, before={"label": payload, "score": 0.5}) for payload in payloads]
    job = make_job(session, blobs, learner, images, source=TAUGHT)
    claimed = prediction_jobs.claim_next(session, 60)
    answers = [
        JobAnswer(i, {"label": payloads[i - 1], "score": 0.5, "known": True, "novelty": 0.1})
        if i % 3
        else JobAnswer(i, {"problem": {"code": payload, "detail": payload}})
        for i, payload in enumerate(payloads)
    ]
    prediction_jobs.give_back(session, claimed, answers)
    job.error = {"code": payloads[0], "detail": payloads[0]}
    return job.id


def body_of(page, what):
    """Return something of the page's body. One that sends a form by itself has none for a moment."""
    return wait_until(lambda: page.evaluate(f"document.body && document.body.{what}"))


def test_no_text_of_strangers_becomes_anything_but_text(app, page, site, hostile):
    paths = []
    addresses = {name: value for name, value in hostile.items() if name != "ended"}
    for template in pages(app):
        for name, value in addresses.items():
            template = template.replace(f"{{{name}}}", value)
        if not template.endswith(("/image", ".json", "{name}", "{index}")):
            paths.append(template)
    assert len(paths) >= 10
    for payload in PAYLOADS[:4]:
        asked = json.dumps(payload)
        paths.append(f"/admin/learners/birds/classes?search=' + encodeURIComponent({asked}) + '")
        paths.append(f"/admin/audit?learner=' + encodeURIComponent({asked}) + '")
    paths += [f"/admin/learners/birds/teach?task={task_id}" for task_id in hostile["ended"]]
    paths.append("/admin/login?next=/admin/%22%3E%3Cscript%3E&problem=%3Cscript%3E")
    paths.append("/admin/enter?token=%22%3E%3Cscript%3EglobalThis.ran=1%3C/script%3E")
    told = ""
    for path in paths:
        page.evaluate(f"globalThis.left = 1, location.assign('{site}{path}')")
        page.wait_until("globalThis.left === undefined && document.readyState === 'complete'")
        # Figures are drawn after the page is complete, and what would run late runs with them.
        time.sleep(0.25 if "data-plot" in body_of(page, "innerHTML") else 0.05)
        assert page.evaluate("globalThis.ran") is None, path
        assert page.evaluate("globalThis.violations") == [], path
        assert page.evaluate(f"{{{STRANGE}}}") == [], path
        told += body_of(page, "textContent")
    # A link that was never made is refused, which the browser notes too.
    expected = ("404 (Not Found)", "401 (Unauthorized) " + f"{site}/admin/enter")
    assert [text for text in page.messages if not any(map(text.__contains__, expected))] == []
    for payload in PAYLOADS:
        assert told.count(payload) >= 5, payload


@pytest.fixture
def seen(app):
    """What requests reach the app, in front of everything: path, whether with the session, what came of it."""
    found = []
    inner = app.build_middleware_stack()

    async def note(scope, receive, send):
        if scope["type"] != "http":
            await inner(scope, receive, send)
            return
        headers = dict(scope["headers"])

        async def watch(message):
            if message["type"] == "http.response.start" and scope["method"] != "GET":
                found.append(
                    (
                        scope["path"],
                        b"filopodia_session" in headers.get(b"cookie", b""),
                        headers.get(b"sec-fetch-site", b"").decode(),
                        message["status"],
                    )
                )
            await send(message)

        await inner(scope, receive, watch)

    app.middleware_stack = note
    return found


class Evil:
    """A web server of another origin with one page that attacks ours."""

    def __init__(self) -> None:
        evil = self
        self.page = ""

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = evil.page.encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def evil():
    server = Evil()
    yield server
    server.close()


SHOWN_ONCE = ("/admin/keys", "/admin/notifications")
"""Forms that are answered with a page, because it shows a secret."""


@pytest.fixture
def targets(app, session, blobs, three, role_keys):
    """Every address that changes something, with a form that would succeed."""
    learn_at_once(session, blobs, ("swan",), three, Schedule.parse("by_hand"))
    sample = list_samples(session, tasks.list_tasks(session).items[-1].id).items[0].id
    corrected = tasks.add_correction(session, three, name=None, changes=[(sample, "stork")])
    known = ["heron", "egret", "stork", "crane", "swan"]
    publish_correction(session, corrected, tasks=[1, 2, 3, 4], classes=known, unconsolidated=[4])
    held = make_task(session, blobs, three, classes=("ibis",))
    claimed = queue.claim(session, held.id, "tests", 30)
    versions.hold(session, held.id, claimed.token, make_new_version(session, held), "It forgets.")
    waiting = make_task(session, blobs, three, classes=("dodo",))
    ended = make_task(session, blobs, three, classes=("moa",))
    tasks.request_cancel(session, ended.id)
    learner = learners.get_learner(session, three)
    taught = stored_images.find_taught(session, learner.id, StoredImages(), limit=1)
    job_id = make_job(session, blobs, learner, taught, source=TAUGHT).id
    kept = keep_images(session, blobs, learner, ("stork", "stork", "stork"))
    act = review_acts.new_act()
    review_acts.discard(session, learner.id, [(kept, 0)], act=act)
    review_acts.confirm(session, learner.id, [(kept, 2)], key_id="k", act=review_acts.new_act())
    told = [make_subscription(session) for _ in range(3)]
    message = deliveries.add_test(session, told[1]).id
    deliveries.settle(session, deliveries.claim(session, 60), Outcome(204, 5))
    subscriptions.enable(session, told[2], is_enabled=False)
    told_of = dict(zip(("delete", "send", "enabled"), told, strict=True))
    # They would answer jobs and send messages meanwhile, which changes rows.
    app.state.context.jobs.stop()
    app.state.context.notifier.stop()
    session.commit()
    task_of = {"undo": corrected.id, "publish": held.id, "cancel": waiting.id, "retry": ended.id}
    link = app.state.context.login_links.make(role_keys["reader"].split("_")[1])
    forms = {
        "/admin/enter": {"token": link.partition("=")[2]},
        "/admin/import": {"name": "evil"},
        "/admin/jobs/{job_id}/cancel": {},
        "/admin/jobs/{job_id}/delete": {},
        "/admin/keys": {"name": "evil", "role": "admin", "days": "0"},
        "/admin/keys/{key_id}/quotas": {"tasks_per_day": "1"},
        "/admin/keys/{key_id}/revoke": {},
        "/admin/learners/{name}/classes": {"label": "heron", "name": "evil", "is_hidden": "true"},
        "/admin/learners/{name}/classes/{label:path}": {"action": "remove", "image": sample},
        "/admin/learners/{name}/consolidate": {},
        "/admin/learners/{name}/corrections/{task_id}/undo": {"label": "heron"},
        "/admin/learners/{name}/jobs": {"source": "samples"},
        "/admin/learners/{name}/jobs/upload": {},
        "/admin/learners/{name}/live": {"version": "1", "expected": "5"},
        "/admin/learners/{name}/review": {"images": f"{kept}.1", "act": "discard"},
        "/admin/learners/{name}/review/learn": {},
        "/admin/learners/{name}/review/undo": {"act": act},
        "/admin/learners/{name}/teach": {"labels": "evil"},
        "/admin/learners/{name}/teach/look": {},
        "/admin/learners/{name}/try": {"sample": sample},
        "/admin/learners/{name}/unlearn": {"class": "crane", "head": "5", "learner": three},
        "/admin/login": {"key": role_keys["reader"]},
        "/admin/logout": {},
        "/admin/new-learner": {"name": "evil"},
        "/admin/notifications": {
            "name": "evil",
            "target": "https://example.org/evil",
            "events": "task.ended",
        },
        "/admin/notifications/{subscription_id}/delete": {},
        "/admin/notifications/{subscription_id}/enabled": {"enabled": "yes"},
        "/admin/notifications/{subscription_id}/messages/{message_id}/send": {},
        "/admin/notifications/{subscription_id}/test": {},
        "/admin/tasks/{task_id}/cancel": {},
        "/admin/tasks/{task_id}/publish": {},
        "/admin/tasks/{task_id}/retry": {},
    }
    assert list(forms) == changing(app), (
        "say here with which form a new address would change something"
    )
    key_id = role_keys["trainer"].split("_")[1]
    return [
        (
            path.replace("{name}", three)
            .replace("{key_id}", key_id)
            .replace("{job_id}", job_id)
            .replace("{label:path}", "heron")
            .replace("{subscription_id}", told_of.get(path.rsplit("/", 1)[1], told[1]).id)
            .replace("{message_id}", message)
            .replace("{task_id}", task_of.get(path.rsplit("/", 1)[1], "")),
            form,
        )
        for path, form in forms.items()
    ]


def attack(site, targets):
    """Return a page that sends each form in four ways, by itself and all at once."""
    parts = ["<!doctype html><title>evil</title>"]
    for path, fields in targets:
        for kind in ("application/x-www-form-urlencoded", "multipart/form-data", "text/plain"):
            frame = f"f{len(parts)}"
            inputs = "".join(
                f'<input name="{name}" value="{escape(value)}">' for name, value in fields.items()
            )
            parts.append(
                f'<iframe name="{frame}"></iframe><form method="post" enctype="{kind}" '
                f'target="{frame}" action="{site}{path}">{inputs}</form>'
            )
    wanted = json.dumps([[f"{site}{path}", fields] for path, fields in targets])
    parts.append(
        f"""<script>
        for (const form of document.forms) form.submit();
        Promise.allSettled({wanted}.map(([url, fields]) => fetch(url, {{
          method: "POST", mode: "no-cors", credentials: "include", body: new URLSearchParams(fields),
        }}))).then(() => {{ globalThis.sent = true; }});
        </script>"""
    )
    return "".join(parts)


def everything(session):
    """Return all rows there are, but for what a worker or the clock changes."""
    session.rollback()
    return {
        table.name: sorted(map(str, session.execute(select(table)).all()))
        for table in Row.metadata.sorted_tables
        if table.name not in ("workers", "keys")
    } | {"keys": [(key.id, key.revoked_at) for key in keys.list_keys(session)]}


def wait_for(seen, n):
    wait_until(lambda: len(seen) >= n)


@pytest.mark.parametrize(
    ("host", "relation", "has_session"),
    [("127.0.0.1", "same-site", True), ("localhost", "cross-site", False)],
)
def test_no_page_of_another_origin_changes_anything(
    seen, page, site, evil, targets, session, host, relation, has_session
):
    before = everything(session)
    seen.clear()
    evil.page = attack(site, targets)
    page.open(f"http://{host}:{evil.port}/")
    page.wait_until("globalThis.sent === true")
    wait_for(seen, 4 * len(targets))
    assert {path for path, *_ in seen} == {path for path, _ in targets}
    assert {site_ for _, _, site_, _ in seen} == {relation}
    # A port is no site of its own: there the cookie comes along, and the check is all there is.
    assert {with_cookie for _, with_cookie, _, _ in seen} == {has_session}
    for path, _, _, status in seen:
        is_stranger = not has_session and path not in ("/admin/login", "/admin/enter")
        assert status == 403 or (is_stranger and status in (303, 401)), (path, status)
    assert everything(session) == before
    page.open(f"{site}/admin")
    assert page.evaluate("location.pathname") == "/admin", "the session was ended"


def test_our_own_pages_may_do_all_of_it(seen, page, site, targets, session):
    before = everything(session)
    in_order = sorted(targets, key=lambda target: target[0] in ("/admin/login", "/admin/logout"))
    for path, fields in in_order:
        if path.endswith(("/login", "/enter", "/try", "/look", "/import")):
            continue  # a key, a link, or an answer: nothing stored changes; or it needs a whole bundle
        seen.clear()
        body = f"new URLSearchParams({json.dumps(fields)})"
        if path.endswith(("/upload", "/teach")):
            pictures = json.dumps([list(make_image(index=i)) for i in range(2)])
            body = (
                f"(() => {{ const form = new FormData(); for (const picture of {pictures}) "
                f"form.append('images', new Blob([new Uint8Array(picture)]), 'a.png'); "
                f"for (const [name, value] of Object.entries({json.dumps(fields)})) form.append(name, value); "
                f"return form; }})()"
            )
        page.evaluate(
            f"fetch({json.dumps(path)}, {{method: 'POST', body: {body}, redirect: 'manual'}})"
        )
        wait_for(seen, 1)
        assert seen[0] == (path, True, "same-origin", 201 if path in SHOWN_ONCE else 303)
        if path != "/admin/logout":
            after = everything(session)
            assert after != before, path
            before = after
