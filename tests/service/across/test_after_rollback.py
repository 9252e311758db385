"""After a rollback, an unlearning or a renaming every number belongs to the version it stands beside, on every surface.

Expected numbers are counted from what each version has stored of its own evaluation. The images are noise under made-up
labels, so that versions differ in everything.
"""

import io
import json
import re
import sys

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from structlog.testing import capture_logs

from service.app import create_app
from service.cli.main import main
from tests.served import served
from tests.service.api import version_of
from tests.waiting import wait_until

TASKS = (("heron", "egret"), ("stork", "crane", "ibis"), ("owl", "kite"))
N = 12
"""Images a class; half of them are held out."""


def noise(label, i):
    seed = [*label.encode(), i]
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.fixture
def learner(client, birds, learn):
    """A learner of three tasks of noise, whose numbers differ from version to version."""
    for labels in TASKS:
        files = [
            ("images", (f"{x}/{i}.png", noise(x, i), "image/png")) for x in labels for i in range(N)
        ]
        query = "?eval_fraction=0.5&screening=off"
        answer = client.post(f"/v1/learners/{birds}/tasks{query}", files=files)
        assert answer.status_code == 202, answer.text
        learn(answer.json()["id"])
    wait_until(lambda: version_of(client, birds) == 3)
    return birds


@pytest.fixture
def pages(app, client, role_keys):
    """A browser that has logged in."""
    visitor = TestClient(app, headers={"Accept": "text/html"})
    headers = {"Sec-Fetch-Site": "same-origin"}
    visitor.post("/admin/login", data={"key": role_keys["admin"]}, headers=headers)
    return visitor


@pytest.fixture
def command(settings, session_factory, blobs, role_keys, tmp_path, monkeypatch, capsys):
    """Runs a command against another service of the same installation; returns what it prints."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FILOPODIA_KEY", role_keys["admin"])

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["filopodia", *words])
        with pytest.raises(SystemExit):
            main()
        return capsys.readouterr().out

    with capture_logs(), served(create_app(settings, session_factory, blobs)) as url:
        monkeypatch.setenv("FILOPODIA_URL", url)
        yield run


class Counted:
    """What a version's own evaluation has counted, and what follows for the line that leads to it."""

    def __init__(self, client, number):
        self.version = client.get(f"/v1/learners/birds/versions/{number}").json()
        self.confusion = self.version["metrics"]["confusion"]
        parent = self.version["parent"]
        self.line = [*(Counted(client, parent).line if parent else []), self]

    def share(self, label=None, task=None):
        rows = [
            (true, answered, n)
            for index, by_label in self.confusion.items()
            for true, answers in by_label.items()
            for answered, n in answers.items()
            if label in (None, true) and task in (None, int(index))
        ]
        n = sum(row[2] for row in rows)
        return sum(n for true, answered, n in rows if true == answered) / n if n else None

    @property
    def accuracy(self):
        last = [step.share() for step in self.line]
        drops = [
            max(step.share(task=task) for step in self.line[:-1] if str(task) in step.confusion)
            - self.share(task=task)
            for task in self.version["tasks"]
            if any(str(task) in step.confusion for step in self.line[:-1])
        ]
        return {
            "last": self.share(),
            "average": sum(last) / len(last),
            "forgetting": sum(drops) / len(drops) if drops else None,
        }


def percent(value):
    return "-" if value is None else f"{100 * value:.1f}%"


def move(client, version, **body):
    answer = client.put("/v1/learners/birds/aliases/live", json={"version": version, **body})
    assert answer.status_code == 200, answer.text
    wait_until(lambda: version_of(client, "birds") == version)


def roll_back(client, learn):
    move(client, 2)
    return 2


def roll_back_with_head(client, learn):
    move(client, 1, move_head=True)
    return 1


def serve_what_is_beside_the_head(client, learn):
    move(client, 2, move_head=True)
    move(client, 3)
    return 3


def unlearn_and_roll_on(client, learn):
    move(client, 1)
    answer = client.post("/v1/learners/birds/unlearn", json={"tasks": [3], "classes": ["ibis"]})
    learn(answer.json()["id"])
    wait_until(lambda: version_of(client, "birds") == 4)
    return 4


def rename_and_hide(client, learn):
    move(client, 2)
    client.patch("/v1/learners/birds/classes/heron", json={"name": "Grey heron"})
    client.patch("/v1/learners/birds/classes/egret", json={"hidden": True})
    return 2


CHANGES = [
    roll_back,
    roll_back_with_head,
    serve_what_is_beside_the_head,
    unlearn_and_roll_on,
    rename_and_hide,
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_every_number_belongs_to_the_version_it_stands_beside(
    client, learner, learn, change, command, pages
):
    number = change(client, learn)
    live = Counted(client, number)
    check_learner_and_history(client, number, live)
    check_classes(client, live)
    check_gauges(client, live)
    check_pages(client, pages, number, live)
    check_commands(command, number, live)


def test_versions_differ_so_that_a_number_of_another_one_is_seen(client, learner):
    counted = [Counted(client, number) for number in (1, 2, 3)]
    assert len({percent(each.share()) for each in counted}) == 3
    assert len({percent(each.accuracy["average"]) for each in counted}) == 3
    assert len({percent(each.share("heron")) for each in counted}) > 1
    # A class is not known as well as its task.
    assert any(each.share("heron") != each.share(task=1) for each in counted)


def check_learner_and_history(client, number, counted):
    for learner in (
        client.get("/v1/learners/birds").json(),
        client.get("/v1/learners").json()["items"][0],
    ):
        assert learner["live_version"] == number
        found = learner["accuracy"]
        assert {key: found[key] for key in counted.accuracy} == pytest.approx(counted.accuracy)
        assert found["measures"]["last"]["value"] == found["last"]
        assert learner["classes"] == len(counted.version["classes"])
        assert learner["tasks"] == len(counted.version["tasks"])
    of_live = client.get(f"/v1/learners/birds/accuracy?version={number}").json()
    assert (of_live["version"], of_live["live_version"]) == (number, number)
    assert {key: of_live[key] for key in counted.accuracy} == pytest.approx(counted.accuracy)
    of_head = client.get("/v1/learners/birds/accuracy").json()
    head = client.get("/v1/learners/birds").json()["head_version"]
    assert (of_head["version"], of_head["live_version"]) == (head, number)
    expected = Counted(client, head).accuracy
    assert {key: of_head[key] for key in expected} == pytest.approx(expected)
    assert client.get("/v1/learners/birds/accuracy?version=9").json()["code"] == "version-not-found"


def check_classes(client, counted):
    items = client.get("/v1/learners/birds/classes").json()["items"]
    assert [item["label"] for item in items] == counted.version["classes"]
    for item in items:
        first = next(step for step in counted.line if item["task"] in step.version["tasks"])
        assert item["accuracy_now"] == pytest.approx(counted.share(item["label"]))
        assert item["accuracy_learned"] == pytest.approx(first.share(item["label"]))
        assert (item["n_learned"], item["n_now"]) == (N // 2, N // 2)
        assert client.get(f"/v1/learners/birds/classes/{item['label']}").json() == item


def check_gauges(client, counted):
    def gauges():
        text = client.get("/metrics").text
        found = re.findall(
            r'^filopodia_(accuracy(?:_low|_high|_images)?|forgetting)\{learner="birds"\} (\S+)$',
            text,
            re.M,
        )
        return {name: float(value) for name, value in found}

    expected = {"accuracy": counted.accuracy["last"], "forgetting": counted.accuracy["forgetting"]}
    last = client.get("/v1/learners/birds").json()["accuracy"]["measures"]["last"]
    for gauge, name in (("low", "low"), ("high", "high"), ("images", "n")):
        expected[f"accuracy_{gauge}"] = last and last[name]
    expected = {name: value for name, value in expected.items() if value is not None}
    wait_until(lambda: gauges() == pytest.approx(expected))


def check_pages(client, pages, number, counted):
    def numbers(path):
        html = pages.get(path).text
        return html, dict(
            re.findall(r"<dt>([^<]+)</dt><dd>([^<]*?)(?:\s*<small[^>]*>[^<]*</small>)*</dd>", html)
        )

    shown = {
        key.capitalize(): percent(value).replace("-", "\u2013")
        for key, value in counted.accuracy.items()
    }
    html, found = numbers("/admin/learners/birds")
    assert {key: found[key] for key in shown} == shown
    assert found["Live version"] == str(number)
    assert found["Classes"] == str(len(counted.version["classes"]))
    head = client.get("/v1/learners/birds").json()["head_version"]
    assert (f"Version {number} is live, and the numbers above are its own" in html) == (
        head != number
    )
    html, found = numbers("/admin")
    assert {key: found[key] for key in shown} == shown
    assert f"{len(counted.version['classes'])} classes in" in html
    html, _ = numbers("/admin/learners/birds/classes")
    now = re.findall(
        r"accuracy now</dt><dd>\s*<span title=[^>]*>(\S+) <span class=\"muted\">of (\d+),", html
    )
    assert now == [(percent(counted.share(x)), str(N // 2)) for x in counted.version["classes"]]


def check_commands(command, number, counted):
    learners, history, classes = (
        command(*words) for words in (["learners"], ["history", "birds"], ["classes", "birds"])
    )
    listed = json.loads(command("versions", "birds", "--json"))
    line = learners.splitlines()[1]
    row = line.split()
    shares = [percent(value) for value in counted.accuracy.values()]
    assert row[-2:] == shares[1:]
    assert f" {shares[0]} of " in line
    assert row[3:6] == [
        str(len(counted.version["classes"])),
        str(len(counted.version["tasks"])),
        str(number),
    ]
    headlines = [line for line in history.splitlines() if "average" in line]
    of_live = [line for line in headlines if f"version {number}, live:" in line] or headlines
    assert re.findall(r"(?:last|average|forgetting) (\S+)", of_live[0]) == shares
    assert [version["number"] for version in listed if version["is_live"]] == [number]
    lines = classes.splitlines()[1:]
    assert len(lines) == len(counted.version["classes"])
    for line, label in zip(lines, counted.version["classes"], strict=True):
        assert f"{percent(counted.share(label))} of {N // 2}" in line
        assert label in line
