"""Every page of the service meets WCAG 2.2 AA and good practice, by axe-core, light and dark, wide and narrow.

A new page is named here with how it is reached, in VISITS: the first test asks for it. States of a page that only
show after something was done are visits of their own.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

import httpx
import pytest

from registry import learners, queue, tasks, versions
from registry.samples import list_samples
from registry.schedule import Schedule
from tests.factories import (
    hold_unlearning,
    keep_images,
    learn_at_once,
    make_learner,
    make_new_version,
    make_task,
)
from tests.service.dashboard.browser import axe
from tests.service.dashboard.browser.chromium import EXECUTABLE, Chromium
from tests.service.dashboard.browser.kinds import KINDS, draw
from tests.service.dashboard.browser.person import Person
from tests.service.dashboard.routes_of import pages
from tests.waiting import PACE, wait_until

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(EXECUTABLE is None, reason="there is no Chromium on this machine"),
]

LOOKS = [(width, dark) for width in (1440, 390) for dark in (False, True)]
"""Width of the window, and whether it is dark."""
UNFOLD = "for (const one of document.querySelectorAll('details')) one.open = true"
READY = "document.readyState === 'complete'"
SAID = "document.querySelector('main')?.dataset.left === undefined && " + READY

Do = Callable[[Person], None]


@dataclass(frozen=True)
class Visit:
    """One look at a page: its address, in which `{…}` stand for what `filled` returns, and what is done there."""

    path: str
    do: Do | None = None
    """What brings it into the state that is looked at."""
    status: int = 200
    is_stranger: bool = False
    """Whether nobody is logged in."""


def submit(selector: str) -> Do:
    """Return what sends a form and waits for the page that answers it."""

    def run(person: Person) -> None:
        page = person.browser
        page.evaluate("document.querySelector('main').dataset.left = 1")
        page.evaluate(f"document.querySelector({json.dumps(selector)}).click()")
        page.wait_until(SAID)

    return run


def ask_for_what_is_refused(person: Person) -> None:
    """Ask for messages to an address inside the network, and wait for the form with what is wrong."""
    person.browser.evaluate(
        """(() => {
            document.querySelector("[name=name]").value = "Inside";
            document.querySelector("[name=target]").value = "http://10.0.0.1/hook";
            document.querySelector("[name=events]").checked = true;
        })()"""
    )
    submit("form[action='/admin/notifications'] button")(person)


def gather_photos(person: Person) -> None:
    """Put photos on the page that teaches, some of them named, some of them not, and select one."""
    page = person.browser
    page.evaluate(
        """(async () => {
            const transfer = new DataTransfer();
            for (const colour of ["red", "blue", "green", "teal"]) {
                const canvas = new OffscreenCanvas(64, 64);
                const pen = canvas.getContext("2d");
                pen.fillStyle = colour; pen.fillRect(0, 0, 64, 64); pen.clearRect(9, 9, 20, 20);
                const blob = await canvas.convertToBlob();
                transfer.items.add(new File([blob], `${colour}.png`, { type: "image/png" }));
            }
            const input = document.querySelector("[data-input=photos]");
            input.files = transfer.files;
            input.dispatchEvent(new Event("change", { bubbles: true }));
        })()"""
    )
    page.wait_until("document.querySelectorAll('.tile img').length === 4")
    page.evaluate("document.querySelector('.tile-pick').click()")


def choose_images(person: Person) -> None:
    """Choose images on the page."""
    person.browser.evaluate(
        "for (const one of [...document.querySelectorAll('main input[type=checkbox]')].slice(0, 2)) one.click()"
    )


def answer_is_there(person: Person) -> None:
    """Try the first held-out image."""
    submit(".gallery button")(person)


VISITS: dict[str, list[Visit]] = {
    "/admin": [Visit("/admin")],
    "/admin/audit": [Visit("/admin/audit"), Visit("/admin/audit?action=nothing.such")],
    "/admin/enter": [Visit("/admin/enter?token=none", is_stranger=True)],
    "/admin/jobs/{job_id}": [Visit("/admin/jobs/{job_id}"), Visit("/admin/jobs/{job_id}?show=all")],
    "/admin/import": [
        Visit("/admin/import"),
        Visit("/admin/import?name=My%20birds"),
    ],
    "/admin/keys": [
        Visit("/admin/keys"),
        Visit("/admin/keys?problem=last-admin-key"),
        Visit(
            "/admin/keys",
            lambda person: (
                person.browser.evaluate("document.querySelector('#name').value = 'A camera'"),
                submit("form[action='/admin/keys'] button")(person),
            )[-1],
        ),
    ],
    "/admin/learners/{name}": [
        Visit("/admin/learners/{name}"),
        Visit("/admin/learners/{name}?done=live-moved&problem=stale-head"),
        Visit("/admin/learners/empty"),
        Visit("/admin/learners/waiting"),
        Visit("/admin/learners/nobody", status=404),
    ],
    "/admin/learners/{name}/classes": [
        Visit("/admin/learners/{name}/classes"),
        Visit("/admin/learners/{name}/classes?search=nothing"),
        Visit("/admin/learners/empty/classes"),
    ],
    "/admin/learners/{name}/classes/{label:path}": [
        Visit("/admin/learners/{name}/classes/{label}"),
        Visit("/admin/learners/{name}/classes/{label}", choose_images),
    ],
    "/admin/learners/{name}/drift": [
        Visit("/admin/learners/{name}/drift"),
        Visit("/admin/learners/empty/drift"),
    ],
    "/admin/learners/{name}/jobs": [
        Visit("/admin/learners/{name}/jobs"),
        Visit("/admin/learners/empty/jobs"),
    ],
    "/admin/learners/{name}/review": [
        Visit("/admin/learners/{name}/review"),
        Visit("/admin/learners/{name}/review", choose_images),
        Visit("/admin/learners/{name}/review?label=nothing"),
        Visit("/admin/learners/empty/review"),
    ],
    "/admin/learners/{name}/suspects": [
        Visit("/admin/learners/{name}/suspects"),
        Visit("/admin/learners/empty/suspects"),
    ],
    "/admin/learners/{name}/teach": [
        Visit("/admin/learners/{name}/teach"),
        Visit("/admin/learners/{name}/teach", gather_photos),
        Visit("/admin/learners/{name}/teach?task={succeeded}"),
        Visit("/admin/learners/waiting/teach?task={queued}"),
        Visit("/admin/learners/waiting/teach?task={held}"),
        Visit("/admin/learners/waiting/teach?task={failed}"),
    ],
    "/admin/learners/{name}/try": [
        Visit("/admin/learners/{name}/try"),
        Visit("/admin/learners/{name}/try", answer_is_there),
        Visit("/admin/learners/empty/try"),
    ],
    "/admin/learners/{name}/unlearn": [
        Visit("/admin/learners/{name}/unlearn"),
        Visit("/admin/learners/{name}/unlearn?class={label}"),
        Visit("/admin/learners/{name}/unlearn?task=99"),
        Visit("/admin/learners/empty/unlearn"),
    ],
    "/admin/learners/{name}/versions/{number}": [
        Visit("/admin/learners/{name}/versions/1"),
        Visit("/admin/learners/{name}/versions/2"),
    ],
    "/admin/learners/{name}/versions/{number}/confusion": [
        Visit("/admin/learners/{name}/versions/3/confusion"),
        Visit("/admin/learners/{name}/versions/3/confusion?label={label}"),
    ],
    "/admin/learners/{name}/versions/{number}/confusion/images": [
        Visit("/admin/learners/{name}/versions/3/confusion/images?true={label}&answered={label}"),
    ],
    "/admin/notifications": [
        Visit("/admin/notifications"),
        Visit("/admin/notifications", ask_for_what_is_refused),
    ],
    "/admin/notifications/{subscription_id}": [
        Visit("/admin/notifications/{subscription_id}"),
    ],
    "/admin/predictions/{prediction_id}/images/{index}/why": [
        Visit("/admin/predictions/{prediction_id}/images/0/why"),
        Visit("/admin/predictions/{prediction_id}/images/7/why", status=404),
    ],
    "/admin/login": [
        Visit("/admin/login", is_stranger=True),
        Visit(
            "/admin/login",
            lambda person: (
                person.browser.evaluate("document.querySelector('#key').value = 'wrong'"),
                submit("main form button")(person),
            )[-1],
            is_stranger=True,
        ),
    ],
    "/admin/new-learner": [Visit("/admin/new-learner")],
    "/admin/tasks": [Visit("/admin/tasks")],
    "/admin/{path:path}": [Visit("/admin/nowhere", status=404)],
    "/docs": [Visit("/docs")],
    "/problems/{code}": [Visit("/problems/rate-limited")],
}
"""How each page is reached, and its states."""
NO_PAGES = {
    "/admin/predictions/{prediction_id}/images/{index}/heat.png",
    "/admin/jobs/{job_id}/images/{index}",
    "/admin/jobs/{job_id}/live.json",
    "/admin/predictions/{prediction_id}/images/{index}",
    "/admin/learners/{name}/teach/live.json",
    "/admin/samples/{sample_id}/image",
    "/admin/static/{name}",
    "/admin/tasks.json",
}
"""What is read below `/admin` and no page."""


ODD = """[
    ...[...document.querySelectorAll("option, dd, td, small, .small")]
        .filter((one) => !one.children.length)
        .map((one) => one.textContent.trim())
        .filter((text) => /^(None|null|undefined|nan|\\[\\]|\\{\\})$/i.test(text))
        .map((text) => `it says ${text}`),
    ...Object.entries(Object.groupBy(document.querySelectorAll("[data-task] progress"),
        (one) => one.closest("[data-task]").dataset.task))
        .filter(([, bars]) => bars.length > 1).map(([task]) => `two progress bars of ${task}`),
]"""
"""What a page shows that nobody means: values of the code instead of words, and a task told twice."""


def test_every_page_is_visited(app):
    known = {path for path in VISITS if path.startswith("/admin")} | NO_PAGES
    assert sorted(set(pages(app)) - known) == [], "say in VISITS how a new page is reached"
    assert sorted(known - set(pages(app))) == [], "these are no pages any more"


@pytest.fixture
def client(site, role_keys):
    """Asks the service that the browser looks at."""
    headers = {"Authorization": f"Bearer {role_keys['admin']}"}
    with httpx.Client(
        base_url=site, headers=headers, trust_env=False, timeout=PACE.scaled(60)
    ) as client:
        yield client


@pytest.fixture
def filled(app, client, learn, session, blobs):
    """A learner that has really learned, with all that people do to one, and others that wait. Returns addresses."""

    def upload(kinds, **query):
        pictures = [
            ("images", (f"{split}/{kind}/{i}.png", draw(kind, i), "image/png"))
            for kind in kinds
            for split, numbers in (("train", range(4)), ("test", range(4, 6)))
            for i in numbers
        ]
        answer = client.post("/v1/learners/things/tasks", files=pictures, params=query)
        assert answer.status_code == 202, answer.text
        return answer.json()["id"]

    body = {"name": "things", "strategy": "artsy", "backbone": "bundled"}
    assert client.post("/v1/learners", json=body).status_code == 201
    for first in (0, 3, 6):
        learn(upload(KINDS[first : first + 3]))
    session.rollback()
    newest = tasks.list_tasks(session, learner_name="things").items[0]
    things = learners.get_learner(session, "things")
    wait_until(lambda: client.get("/v1/learners/things").json()["live_version"] == 3)
    for kind in KINDS[4:12:2]:
        asked = [("images", ("a.png", draw(kind, n), "image/png")) for n in range(50, 53)]
        answer = client.post("/v1/learners/things/predictions?store=true", files=asked)
        assert answer.status_code == 200, answer.text
        prediction_id = answer.json()["id"]
    body = {"name": "Door", "target": "https://example.org/hook", "events": ["task.ended"]}
    told = client.post("/v1/subscriptions", json=body)
    assert told.status_code == 201, told.text
    keep_images(session, blobs, things, KINDS[:4], version=3)
    session.commit()
    change = {"sample": list_samples(session, newest.id).items[0].id, "to": KINDS[7]}
    for path, body in (
        ("corrections", {"changes": [change]}),
        ("unlearn", {"classes": [KINDS[2]]}),
    ):
        answer = client.post(f"/v1/learners/things/{path}", json=body)
        assert answer.status_code == 202, answer.text
        learn(answer.json()["id"])
    job = client.post("/v1/learners/things/prediction-jobs", json={"samples": {}})
    assert job.status_code == 202, job.text
    session.rollback()
    make_learner(session, "empty")
    make_learner(session, "waiting")
    learn_at_once(session, blobs, ("swan", "goose"), "waiting", Schedule.parse("by_hand"))
    held = make_task(session, blobs, "waiting", classes=("ibis",))
    claimed = queue.claim(session, held.id, "tests", 30)
    versions.hold(session, held.id, claimed.token, make_new_version(session, held), "It forgets.")
    held.findings = [{"code": "few-images", "detail": "Its images are few."}]
    hold_unlearning(session, "waiting", classes=["swan"])
    failed = make_task(session, blobs, "waiting", classes=("moa", "dodo"))
    claimed = queue.claim(session, failed.id, "tests", 30)
    queue.fail_task(session, failed.id, claimed.token, "learning-failed", "It cannot be learned.")
    queued = make_task(session, blobs, "waiting", classes=tuple("abcdefghij"))
    session.flush()
    ended = {"held": held.id, "failed": failed.id, "queued": queued.id, "succeeded": newest.id}
    session.commit()
    made = {"job_id": job.json()["id"], "subscription_id": told.json()["id"]}
    made |= {"prediction_id": prediction_id, "name": "things", "label": quote(KINDS[0])}
    return ended | made


def test_no_page_breaks_a_rule(chromium: Chromium, site, filled, role_keys):
    person = Person(chromium)
    found: dict[str, list[str]] = {}
    for visit in (visit for visits in VISITS.values() for visit in visits):
        path = visit.path.format_map(filled)
        if visit.is_stranger:
            chromium.send("Network.clearBrowserCookies")
            chromium.open(f"{site}{path}")
        elif chromium.evaluate(
            "!location.pathname.startsWith('/admin') || !document.querySelector('nav')"
        ):
            person.log_in(role_keys["admin"], f"{site}/admin")
        chromium.open(f"{site}{path}")
        chromium.wait_until(READY)
        if visit.do is not None:
            visit.do(person)
        chromium.evaluate(UNFOLD)
        axe.prepare(chromium)
        for width, dark in LOOKS:
            chromium.look(width=width, dark=dark)
            odd = chromium.evaluate(ODD)
            for problem in [*axe.violations(chromium), *odd]:
                look = f"{width} px, {'dark' if dark else 'light'}"
                found.setdefault(problem, []).append(f"{path} at {look}")
    person.leave()
    told = [f"{problem}\n    on {'; '.join(sorted(set(on)))}" for problem, on in found.items()]
    assert not told, f"{len(told)} violations\n\n" + "\n\n".join(told)
