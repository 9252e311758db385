"""`filopodia learn` and what can be done with a task, against a service that listens on a port."""

import io
import json
import os
import random
import re
import sys

import pytest
from PIL import Image

from registry import learners, versions
from tests.factories import (
    hold_unlearning,
    make_image,
    make_learner,
    make_task,
    publish_task,
)

LABELS = ("crane", "egret", "heron", "stork")
TINY = ("--create", "--strategy", "simplecil", "--backbone", "tiny")


@pytest.fixture
def run(run_as_admin):
    return run_as_admin


def flat(text):
    """Return what is printed in a box, without the box."""
    return " ".join(text.replace("│", " ").split())


def put(folder, labels, n=4):
    for label in labels:
        (folder / label).mkdir(parents=True)
        for i in range(n):
            (folder / label / f"{i}.png").write_bytes(make_image(label, i))
    return folder


def test_images_that_cannot_be_used_are_named_as_their_sender_knows_them(run, tmp_path):
    put(tmp_path / "photos", ("egret", "heron"))
    (tmp_path / "photos/egret/Thumbs.db").write_bytes(b"left behind")
    (tmp_path / "photos/heron/0.png").write_bytes(b"text")
    Image.new("RGB", (32, 32), (200, 30, 30)).save(tmp_path / "photos/heron/blank.png")
    code, refused = run("learn", "birds", "photos", *TINY, "--no-wait")
    assert code == 1
    assert "  photos/heron/0.png: " in refused
    assert "/images/" not in refused
    assert "--skip-bad" in refused
    code, taken = run("learn", "birds", "photos", *TINY, "--skip-bad", "--no-wait")
    assert code == 0, taken
    assert "left out photos/heron/0.png: image-" in taken
    assert "not used photos/heron/blank.png: blank" in taken


def test_classes_that_are_known_are_named(run, tmp_path):
    put(tmp_path / "photos", ("egret", "heron"))
    run("learn", "birds", "photos", *TINY, "--no-wait")
    code, refused = run("learn", "birds", "photos", "--no-wait")
    assert code == 1
    assert "  heron: The label is known already." in refused
    assert "--extend" in refused
    put(tmp_path / "loud", ("HERON",))
    assert "  HERON: The label looks like heron." in run("learn", "birds", "loud")[1]


def test_a_folder_is_sent_again_and_again(run, tmp_path):
    put(tmp_path / "photos", ("egret", "heron"))
    run("learn", "birds", "photos", *TINY, "--no-wait")
    code, nothing = run("learn", "birds", "photos", "--extend", "--no-wait")
    assert (code, nothing.splitlines()[-1]) == (
        0,
        "Nothing new in photos: all 8 images are known.",
    )
    code, nothing = run("learn", "birds", "photos", "--extend", "--no-wait", "--json")
    assert code == 0
    assert json.loads(nothing[nothing.index("{") : nothing.index("}") + 1])["known"] == 8
    (tmp_path / "photos/egret/new.png").write_bytes(make_image("egret", 9))
    for copy in ("copy.png", "again.png"):
        (tmp_path / "photos/heron" / copy).write_bytes(make_image("heron", 1))
    code, grown = run("learn", "birds", "photos", "--extend", "--no-wait")
    assert code == 0, grown
    assert "1 class, 1 image to learn from, 0 kept out" in grown
    assert "8 images left out: known already" in grown
    assert "2 images left out: copies of others in the same class" in grown
    task = re.search(r"tsk_\w+", grown)[0]
    assert "8 images: known already" in run("task", task)[1]


def test_an_image_in_two_classes_is_named_and_can_be_left_out(run, tmp_path):
    put(tmp_path / "photos", ("egret", "heron"))
    (tmp_path / "photos/egret/wrong.png").write_bytes(make_image("heron", 1))
    code, refused = run("learn", "birds", "photos", *TINY, "--no-wait")
    assert code == 1
    assert (
        "photos/egret/wrong.png: The same image came under another label too: heron (1.png)."
        in (refused)
    )
    assert "photos/heron/1.png: " in refused
    assert "--skip-bad" in refused
    code, taken = run("learn", "birds", "photos", *TINY, "--skip-bad", "--no-wait")
    assert code == 0, taken
    assert "left out photos/egret/wrong.png: label-conflict" in taken
    assert "left out photos/heron/1.png: label-conflict" in taken


def test_a_learner_with_other_choices_is_not_taught(run, tmp_path):
    put(tmp_path / "photos", ("egret", "heron"))
    run("learn", "birds", "photos", *TINY, "--no-wait")
    put(tmp_path / "more", ("owl", "crane"))
    code, refused = run(
        "learn", "birds", "more", "--create", "--strategy", "artsy", "--config", '{"epochs": 3}'
    )
    assert code == 2
    assert "has the strategy simplecil, epochs = null: leave these options out" in flat(refused)
    assert run("learn", "birds", "more", *TINY, "--no-wait")[0] == 0


def test_a_learner_made_with_a_preset_is_taught_by_who_names_it_again(run, tmp_path):
    put(tmp_path / "photos", ("egret", "heron"))
    put(tmp_path / "more", ("owl", "crane"))
    made_so = ("--create", "--backbone", "tiny", "--strategy", "artsy")
    preset = ("--config", '{"preset": "paper", "epochs": 3, "gates": "frozen"}')
    assert run("learn", "birds", "photos", *made_so, *preset, "--no-wait")[0] == 0

    assert run("learn", "birds", "more", *made_so, *preset, "--no-wait")[0] == 0
    code, refused = run(
        "learn", "birds", "more", *made_so, "--config", '{"preset": "consolidated"}'
    )

    assert code == 2
    assert 'preset = "paper": leave these options out' in flat(refused)


def test_a_name_that_cannot_be_says_what_could(run, tmp_path):
    put(tmp_path / "photos", ("egret", "heron"))
    code, refused = run("learn", "My Birds", "photos", "--create")
    assert code == 1
    assert "[a-z0-9][a-z0-9-]{0,62}" in refused
    assert "tsk_" in run("task", "seven")[1]


def test_a_held_task_is_shown_and_decided_on(run, tmp_path):
    shown = [label for label in LABELS for _ in range(20)]
    labels = random.Random(0).sample(shown, len(shown))
    for i, (label, real) in enumerate(zip(labels, shown, strict=True)):
        (tmp_path / "photos" / label).mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / label / f"{i}.png").write_bytes(make_image(real, 100 + i))
    run.start_learning()
    code, held = run("learn", "birds", "photos", *TINY, "--name", "by lot")
    assert code == 1
    [task] = json.loads(run("tasks", "birds", "--json")[1])
    assert f"filopodia publish {task['id']}" in held
    assert f"filopodia cancel {task['id']}" in held

    listed = run("tasks")[1]
    assert "by lot" in listed
    assert f"{task['id']} held: " in listed
    assert f"filopodia publish {task['id']}" in listed
    about = run("task", task["id"])[1]
    for fact in ("birds, task 1, by lot", "new_classes", "labels-disagree: ", "72 to learn from"):
        assert fact in about
    assert json.loads(run("task", task["id"], "--json")[1]) == task

    assert f"{task['id']} of birds is cancelled" in run("cancel", task["id"])[1]
    code, refused = run("publish", task["id"])
    assert (code, "task-not-held" in refused) == (1, True)
    assert "filopodia task TASK" in refused
    assert json.loads(run("retry", task["id"], "--json")[1])["status"] == "queued"


def test_a_learner_is_deleted_once_that_is_confirmed(run, tmp_path, monkeypatch):
    put(tmp_path / "photos", ("egret", "heron"))
    run("learn", "birds", "photos", *TINY, "--no-wait")
    task = json.loads(run("tasks", "--json")[1])[0]
    run("cancel", task["id"])
    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
    assert run("delete", "birds")[0] == 1
    assert "birds" in run("learners")[1]
    assert run("delete", "birds", "--yes") == (0, "deleted birds\n")
    code, gone = run("delete", "birds", "--yes")
    assert (code, "learner-not-found" in gone) == (1, True)
    assert "--create" in gone


@pytest.fixture
def answer(monkeypatch):
    """Returns a function that answers the next question: on a terminal, through a pipe, or nobody does."""
    opened = []

    def give(text, *, is_terminal=True):
        if not is_terminal:
            monkeypatch.setattr(sys, "stdin", None if text is None else io.StringIO(text))
            return
        keyboard, terminal = os.openpty()
        os.write(keyboard, text.encode())
        opened.extend([os.fdopen(terminal), os.fdopen(keyboard, "wb")])
        monkeypatch.setattr(sys, "stdin", opened[-2])

    yield give
    for file in opened:
        file.close()


def teach_twice(run, tmp_path):
    """Let birds learn herons and egrets, then cranes and storks."""
    run.start_learning()
    for name, labels in (("first", ("egret", "heron")), ("second", ("crane", "stork"))):
        assert run("learn", "birds", put(tmp_path / name, labels, n=8), *TINY)[0] == 0


def test_unlearning_says_what_it_erases_and_asks(run, answer, tmp_path):
    teach_twice(run, tmp_path)
    tasks = run("tasks", "birds")[1]
    asked = "birds unlearns crane. Version 2 is erased and 8 images deleted, for good."
    unlearn = ("unlearn", "birds", "--class", "crane")
    answer("n\n")
    code, output = run(*unlearn)
    assert (code, asked in flat(output), "Nothing was done." in output) == (1, True, True)
    for nothing in ("", None, "what\n"):
        answer(nothing, is_terminal=False)
        code, output = run(*unlearn)
        assert (code, asked in flat(output), "--yes" in output) == (2, True, True)
    assert run("tasks", "birds")[1] == tasks
    answer("y\n")
    code, output = run(*unlearn)
    assert (code, asked in flat(output)) == (0, True)
    assert "Version 3 is without it." in output
    assert [
        v["erased_at"] is not None for v in json.loads(run("versions", "birds", "--json")[1])
    ] == [
        False,
        True,
        False,
    ]
    answer("", is_terminal=False)
    code, output = run("unlearn", "birds", "--task", "2", "--yes")
    assert (code, "birds unlearns stork. Version 3 is erased" in flat(output)) == (0, True)
    code, output = run("unlearn", "birds", "--class", "crane")
    assert (code, "unknown-content" in output) == (1, True)


def test_what_was_unlearned_and_held_is_published_once_that_is_confirmed(
    run, answer, session, blobs
):
    make_learner(session, "birds")
    for labels in (("egret", "heron"), ("crane",)):
        publish_task(session, make_task(session, blobs, classes=labels))
    learner_id = learners.get_learner(session, "birds").id
    task = hold_unlearning(session, "birds", classes=["crane"])
    session.commit()
    for given, expected in (("n\n", 1), ("y\n", 0)):
        answer(given)
        code, output = run("publish", task.id)
        assert (code, "birds unlearns crane. Version 2 is erased" in flat(output)) == (
            expected,
            True,
        )
        session.rollback()
        erased = versions.get_version(session, learner_id, 2).erased_at
        assert (erased is not None) == (expected == 0)


def test_a_key_is_revoked_once_that_is_confirmed(run, answer):
    created = json.loads(run("keys", "create", "camera", "--json")[1])
    answer("", is_terminal=False)
    code, output = run("keys", "revoke", created["id"])
    assert (code, "Revoke the predictor key camera for good?" in output) == (2, True)
    answer("y\n")
    assert f"revoked {created['id']}" in run("keys", "revoke", created["id"])[1]
    unknown = created["id"][:-4] + "0000"
    assert "key-not-found" in run("keys", "revoke", unknown, "--yes")[1]


def test_the_audit_log_says_when_it_is_only_the_filter(run):
    assert run("audit")[1].strip() == "Nothing was changed yet."
    assert run("audit", "--action", "learner.delete")[1].strip() == "Nothing was changed that fits."


def test_limits_that_there_are_not_are_named(run):
    code, refused = run("keys", "create", "camera", "--quota", "foo=1")
    assert code == 2
    assert "tasks_per_day" in flat(refused)
    run("keys", "create", "camera", "--quota", "tasks_per_day=5", "--quota", "images_per_day=none")
    assert "tasks_per_day=5" in run("keys", "list")[1]
