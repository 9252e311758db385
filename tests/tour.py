"""`make tour`: the product in pictures, made anew from a real run. It writes `docs/tour.md` and its pictures.

A real service starts with its worker in a fresh folder, and somebody at a real browser uses it from the first page to
the last. `STOPS` is that way, in order: each stop does something, waits until the page shows it, and is a picture with
a sentence. What a stop waits for and does not find breaks the run off, and nothing is written then.
"""

import base64
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from service.cli.local.demo_process import ServiceProcess
from service.cli.local.sample_pictures import draw
from tests.service.dashboard.browser.chromium import EXECUTABLE, Chromium
from tests.service.dashboard.browser.person import Person
from tests.waiting import PACE, wait_until

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "tour.md"
PICTURES = ROOT / "docs" / "images" / "tour"
MOST_BYTES = 1_000_000
"""All pictures together."""
QUALITY = 62
WIDE, NARROW = 1440, 390
HEIGHTS = {WIDE: 900, NARROW: 844}
LEARNER = "fruit"
FIRST, SECOND = ("apple", "banana", "orange"), ("pear", "plum")
MANY = 12
READY = "document.readyState === 'complete'"
STILL = """[...document.images].every((one) => {
    const box = one.getBoundingClientRect();
    return one.complete && one.naturalWidth > 0 || box.top > innerHeight || box.bottom < 0 || one.closest("[hidden]");
})"""
"""Whether every image that the window shows is there."""
INTRODUCTION = """# A tour in pictures

From an empty installation to a learner that knows five kinds of fruit, forgets one on request, and tells who changed
what. Every picture is of a real run: `make tour` starts a service with its worker in a fresh folder, teaches it the
pictures of `filopodia samples`, and uses the pages as a person does, in a real browser. It writes this page anew.
"""


class Walk:
    """One run: a service, a browser, and somebody who uses it."""

    def __init__(self, service: ServiceProcess, browser: Chromium, folder: Path) -> None:
        address = service.address()
        self.site, self.key = address.url, address.key
        self.browser = browser
        self.person = Person(browser)
        self.folder = folder
        headers = {"Authorization": f"Bearer {self.key}"}
        self.client = httpx.Client(
            base_url=self.site, headers=headers, trust_env=False, timeout=PACE.scaled(120)
        )

    def go(self, path: str) -> None:
        """Open a page."""
        self.browser.open(f"{self.site}{path}")
        self.browser.wait_until(READY)

    def see(self, condition: str) -> None:
        """Wait until the page shows what the picture is to show."""
        self.browser.wait_until(f"{READY} && !!({condition})")

    def read(self, path: str, **query: str) -> Any:
        """Read from the API."""
        return self.client.get(path, params=query).raise_for_status().json()

    def photos(self, kinds: tuple[str, ...], numbers: range, place: str) -> list[Path]:
        """Draw photos into a folder for each kind, and return those folders."""
        for kind in kinds:
            (self.folder / place / kind).mkdir(parents=True, exist_ok=True)
            for number in numbers:
                path = self.folder / place / kind / f"{number:02d}.jpg"
                path.write_bytes(draw(kind, number))
        return [self.folder / place / kind for kind in kinds]

    def teach(self, kinds: tuple[str, ...]) -> None:
        """Put folders on the page that teaches."""
        self.go(f"/admin/learners/{LEARNER}/teach")
        self.person.drop("[data-drop]", self.photos(kinds, range(1, MANY + 1), "-".join(kinds)))
        n_photos = MANY * len(kinds)
        self.see(f"document.querySelectorAll('.tile img').length === {n_photos}")

    def answers(self, version: int) -> None:
        """Wait until the service answers with a version."""
        wait_until(lambda: self.read(f"/v1/learners/{LEARNER}")["live_version"] >= version)

    def ask(self, kinds: tuple[str, ...], numbers: range) -> None:
        """Have photos predicted and kept, as a camera would."""
        for number in numbers:
            for kind in kinds:
                files = {"images": (f"{kind}.jpg", draw(kind, number), "image/jpeg")}
                answer = self.client.post(f"/v1/learners/{LEARNER}/predictions", files=files)
                answer.raise_for_status()

    def picture(self, name: str, width: int, dark: bool) -> bytes:
        """Return what the page looks like."""
        self.browser.look(width=width, height=HEIGHTS[width], dark=dark)
        self.browser.wait_until(STILL)
        # Two frames: what a change of the window's size has moved is drawn by then.
        self.browser.settle(
            "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )
        shot = self.browser.send("Page.captureScreenshot", format="webp", quality=QUALITY)
        assert shot["data"], name
        return base64.b64decode(shot["data"])


Do = Callable[[Walk], None]


@dataclass(frozen=True)
class Stop:
    """One picture of the tour."""

    name: str
    """Of its file, without the ending."""
    title: str
    text: str
    """What it shows, and what somebody does there."""
    do: Do
    width: int = WIDE
    dark: bool = False

    @property
    def file(self) -> str:
        """Name of its picture."""
        return f"{self.name}.webp"


def start(walk: Walk) -> None:
    """Log in to an empty installation."""
    walk.person.log_in(walk.key, f"{walk.site}/admin")
    walk.see("document.querySelector('a[href=\"/admin/new-learner\"]')")


def create(walk: Walk) -> None:
    """Fill in the form of a new learner."""
    walk.go("/admin/new-learner")
    walk.browser.evaluate(f"document.querySelector('#name').value = '{LEARNER}'")


def gather(walk: Walk) -> None:
    """Create it, and drop the first folders."""
    walk.browser.evaluate("document.querySelector('main form').requestSubmit()")
    walk.see(f"location.pathname === '/admin/learners/{LEARNER}/teach'")
    walk.teach(FIRST)


def watch(walk: Walk) -> None:
    """Press Learn, and look while it learns."""
    walk.person.click("[data-learn]")
    walk.see("document.querySelector('[data-task] progress')")


def answering(walk: Walk) -> None:
    """Wait until it answers."""
    walk.see("document.querySelector('.answers-now')")


def attempt(walk: Walk) -> None:
    """Try a photo that it never saw."""
    walk.answers(1)
    walk.go(f"/admin/learners/{LEARNER}/try")
    [folder] = walk.photos(("banana",), range(1), "new")
    page = walk.browser
    walk.person.hand("input[type=file]", sorted(folder.iterdir()))
    page.evaluate("document.querySelector('[data-try]')?.requestSubmit()")
    walk.see("document.querySelector('.answer-label')")


def more(walk: Walk) -> None:
    """Teach two more kinds, and look at the learner."""
    walk.teach(SECOND)
    walk.person.click("[data-learn]")
    walk.answers(2)
    walk.go(f"/admin/learners/{LEARNER}")
    walk.see("document.querySelectorAll('.js-plotly-plot .main-svg').length > 1")


def learner_narrow(walk: Walk) -> None:
    """Look at the same on a phone, at night."""
    walk.browser.look(width=NARROW, height=HEIGHTS[NARROW], dark=True)
    walk.go(f"/admin/learners/{LEARNER}")
    walk.see("document.querySelectorAll('.js-plotly-plot .main-svg').length > 1")


def review(walk: Walk) -> None:
    """Look at what a camera has sent meanwhile."""
    walk.browser.look(width=WIDE)
    walk.ask(("leaf", "plum", "pear"), range(40, 44))
    wait_until(lambda: walk.read(f"/v1/learners/{LEARNER}/review")["items"])
    walk.go(f"/admin/learners/{LEARNER}/review")
    walk.see("document.querySelectorAll('[data-card]').length > 1")


def classes(walk: Walk) -> None:
    """Look at all classes."""
    walk.go(f"/admin/learners/{LEARNER}/classes")
    walk.see("document.querySelectorAll('.class-card').length === 5")


def correct(walk: Walk) -> None:
    """Choose images of a class that show another one."""
    walk.go(f"/admin/learners/{LEARNER}/classes/apple")
    walk.browser.evaluate(
        "for (const one of [...document.querySelectorAll('.tile input')].slice(1, 3)) one.click();"
        "document.querySelector('#to').value = 'orange'"
    )
    walk.see("document.querySelectorAll('.tile input:checked').length === 2")


def version(walk: Walk) -> None:
    """Look at an older version."""
    walk.go(f"/admin/learners/{LEARNER}/versions/1")
    walk.see("document.querySelector('form[action$=\"/live\"]')")


def unlearn(walk: Walk) -> None:
    """Choose a class, and read what would go."""
    walk.go(f"/admin/learners/{LEARNER}/unlearn?class=plum")
    walk.see("document.querySelector('#what-goes')")


def unlearned(walk: Walk) -> None:
    """Type the name, unlearn it, and read what has gone."""
    walk.browser.evaluate(f"document.querySelector('#learner').value = '{LEARNER}'")
    walk.browser.evaluate("document.querySelector('#what-goes form').requestSubmit()")
    walk.see(f"location.pathname === '/admin/learners/{LEARNER}'")
    walk.answers(3)
    walk.go("/admin/tasks")
    walk.see("document.querySelector('.gone')")
    walk.browser.evaluate("document.querySelector('.gone').open = true")


def keys(walk: Walk) -> None:
    """Look at who may do what."""
    body = {"name": "camera in the hall", "role": "predictor", "learners": [LEARNER]}
    body |= {"quotas": {"predict_images_per_minute": 60}}
    walk.client.post("/v1/keys", json=body).raise_for_status()
    walk.go("/admin/keys")
    walk.see("document.querySelectorAll('table.keys tbody tr').length === 2")


def audit(walk: Walk) -> None:
    """Look at who has done what."""
    walk.go("/admin/audit")
    walk.see("document.querySelectorAll('main .panel').length > 0")


STOPS = (
    Stop(
        "start",
        "Start",
        "A service that has just started knows nothing. The first page leads to the first learner.",
        start,
    ),
    Stop(
        "create",
        "Create",
        "A name is enough: how it learns, and what it sees with, are chosen already.",
        create,
    ),
    Stop(
        "teach",
        "Teach",
        "Folders are dropped on the page. The name of each is the class of its photos, and nothing is sent before "
        "they were looked at.",
        gather,
    ),
    Stop("watch", "Watch", "It learns. The page follows, and takes seconds.", watch),
    Stop("answers", "Answer", "What was taught is answered from now on.", answering),
    Stop(
        "try",
        "Try",
        "A photo that it never saw, with the best labels and which synapses fired for it.",
        attempt,
    ),
    Stop(
        "learner",
        "Measure",
        "Two more kinds later: the accuracy of each task, old and new, with its interval and its number of images.",
        more,
    ),
    Stop(
        "learner-narrow",
        "The same on a phone",
        "Every page works at any width, in light and dark, and by keyboard alone.",
        learner_narrow,
        width=NARROW,
        dark=True,
    ),
    Stop(
        "review",
        "Review",
        "Of what a camera has sent, the images about which a person's word is most useful come first, with the "
        "reason. The leaf was never taught.",
        review,
    ),
    Stop("classes", "Classes", "What it knows, as pictures, and how well.", classes),
    Stop(
        "correct",
        "Correct",
        "Images that were taught wrongly are moved to another class or removed. Nothing is trained for it, and each "
        "correction can be undone.",
        correct,
    ),
    Stop(
        "version",
        "Versions",
        "Each task makes a version that never changes. An older one is served again by a button, which says first "
        "what would no longer be answered.",
        version,
    ),
    Stop(
        "unlearn",
        "Unlearn",
        "What should not be there is taken out for good. The page says beforehand what goes and what stays, and asks "
        "for the learner's name.",
        unlearn,
    ),
    Stop(
        "unlearned",
        "What has gone",
        "The task tells afterwards what was asked for, by whom, what was deleted, and which versions were erased.",
        unlearned,
    ),
    Stop(
        "keys",
        "Keys",
        "Who may do what, for which learners, how much, and how much each has.",
        keys,
    ),
    Stop("audit", "Audit", "Who changed what, and when.", audit, dark=True),
)
"""The way through the product."""


def document() -> str:
    """Return the page of the tour."""
    parts = [INTRODUCTION]
    for number, stop in enumerate(STOPS, 1):
        text = "\n".join(_wrapped(stop.text))
        parts.append(
            f"## {number}. {stop.title}\n\n{text}\n\n![{stop.title}](images/tour/{stop.file})\n"
        )
    return "\n".join(parts)


def _wrapped(text: str, width: int = 120) -> list[str]:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + 1 + len(word) > width:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def walk_all(folder: Path) -> dict[str, bytes]:
    """Walk the whole way, and return each picture by the name of its file."""
    if EXECUTABLE is None:
        raise SystemExit("The tour needs Chromium or Chrome on this machine.")
    environment = {"FILOPODIA_CONSOLIDATE": "by_hand", "FILOPODIA_DEVICE": "cpu"}
    pictures = {}
    with (
        ServiceProcess(folder / "data", environment=environment) as service,
        Chromium(EXECUTABLE) as browser,
    ):
        walk = Walk(service, browser, folder)
        for stop in STOPS:
            browser.look(width=stop.width, height=HEIGHTS[stop.width], dark=stop.dark)
            stop.do(walk)
            pictures[stop.file] = walk.picture(stop.name, stop.width, stop.dark)
            print(f"{stop.file:24} {len(pictures[stop.file]) / 1e3:6.0f} kB  {stop.title}")  # noqa: T201
        if browser.messages:
            raise SystemExit(f"The browser complains: {json.dumps(browser.messages, indent=1)}")
    return pictures


def main() -> int:
    """Make the tour, and write it."""
    with tempfile.TemporaryDirectory(prefix="filopodia-tour-") as folder:
        pictures = walk_all(Path(folder))
    n_bytes = sum(map(len, pictures.values()))
    if n_bytes > MOST_BYTES:
        raise SystemExit(
            f"The pictures have {n_bytes:,} bytes together, and may have {MOST_BYTES:,}."
        )
    PICTURES.mkdir(parents=True, exist_ok=True)
    for old in PICTURES.iterdir():
        old.unlink()
    for name, data in pictures.items():
        (PICTURES / name).write_bytes(data)
    DOCUMENT.write_text(document(), encoding="utf-8")
    print(f"{len(pictures)} pictures, {n_bytes / 1e3:.0f} kB, in {PICTURES.relative_to(ROOT)}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
