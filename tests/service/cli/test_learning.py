"""`filopodia learn` against a service that listens: what it understood, asks, sends, and leaves behind."""

import json
import signal
import zipfile

import pytest

from tests.factories import make_image

TINY = ("--create", "--strategy", "simplecil", "--backbone", "tiny")


@pytest.fixture
def run(run_as_admin):
    return run_as_admin


def put(folder, labels, n=4, first=0):
    for label in labels:
        (folder / label).mkdir(parents=True, exist_ok=True)
        for i in range(first, first + n):
            name = label.rpartition("/")[2]
            (folder / label / f"{i}.png").write_bytes(make_image(name, i))
    return folder


def test_what_was_understood_is_shown_and_learned(run, tmp_path):
    photos = put(tmp_path / "photos", ("pets/train/dog", "pets/train/cat"))
    put(photos, ("pets/valid/dog", "pets/valid/cat"), n=2, first=10)
    (photos / "pets/README.md").write_text("#")
    (photos / "pets/train/dog/Thumbs.db").write_bytes(b"x")
    code, printed = run("learn", "pets", photos, *TINY, "--no-wait")
    assert code == 0, printed
    assert "12 images of 2 classes, 4 of them kept out" in printed
    assert "Learned from: 'train'. Kept out to measure accuracy: 'valid'." in printed
    assert "left out: 2 files: pets/README.md (no image), pets/train/dog/Thumbs.db" in printed
    assert "8 images to learn from, 4 kept out" in printed


def test_a_refused_folder_creates_and_sends_nothing(run, tmp_path):
    photos = put(tmp_path / "photos", ("dog", "cat/persian"))
    code, printed = run("learn", "pets", photos, *TINY)
    assert code == 2
    assert "different depths" in printed
    assert "dog/0.png" in printed
    assert "cat/persian/0.png" in printed
    code, printed = run("learners", "--json")
    assert json.loads(printed) == []


def test_a_refused_upload_leaves_no_learner_behind(run, tmp_path):
    photos = put(tmp_path / "photos", ("dog", "cat"))
    (photos / "dog/9.png").write_bytes(b"no image")
    code, printed = run("learn", "pets", photos, *TINY)
    assert code == 1
    assert "dog/9.png" in printed
    assert json.loads(run("learners", "--json")[1]) == []
    (photos / "dog/9.png").unlink()
    assert run("learn", "pets", photos, *TINY, "--no-wait")[0] == 0
    (photos / "dog/9.png").write_bytes(b"no image")
    assert run("learn", "pets", photos, *TINY, "--no-wait")[0] == 1
    assert [learner["name"] for learner in json.loads(run("learners", "--json")[1])] == ["pets"]


def test_a_class_called_train_is_learned_when_said_so(run, tmp_path):
    photos = put(tmp_path / "photos", ("bus", "train"))
    code, printed = run("learn", "traffic", photos, *TINY)
    assert code == 2
    assert "--no-splits" in printed
    code, printed = run("learn", "traffic", photos, *TINY, "--no-splits", "--no-wait", "--json")
    assert code == 0, printed
    assert '"train"' in printed


def test_a_list_says_what_images_show(run, tmp_path):
    photos = put(tmp_path / "photos", ("a",))
    rows = [f"a/{i}.png,{'dog' if i < 2 else 'cat'}" for i in range(4)]
    (tmp_path / "list.csv").write_text("\n".join(["file,label", *rows]))
    code, printed = run("learn", "pets", photos, "--manifest", "list.csv", *TINY, "--no-wait")
    assert code == 0, printed
    assert "which names 4 of 4 images" in printed
    assert "2 classes, 4 images to learn from" in printed


def test_an_archive_is_sent_as_it_is_and_its_reading_shown(run, tmp_path):
    photos = put(tmp_path / "photos", ("pets/dog", "pets/cat"))
    with zipfile.ZipFile(tmp_path / "pets.zip", "w") as archive:
        for file in sorted(photos.rglob("*.png")):
            archive.write(file, file.relative_to(photos))
        archive.writestr("pets/notes.txt", "x")
    code, printed = run("learn", "pets", "pets.zip", *TINY, "--no-wait")
    assert code == 0, printed
    assert "left out: 1 file: pets/notes.txt (no image)" in printed
    assert "2 classes, 6 images to learn from, 2 kept out" in printed
    code, printed = run("learn", "pets", "pets.zip", "--manifest", "pets.zip")
    assert code == 2


def test_a_guess_is_asked_about_on_a_terminal(run, terminal, tmp_path):
    put(tmp_path / "photos", ("dogs/pug", "dogs/beagle", "cats/persian"))
    screen = terminal("learn", "pets", "photos", *TINY, "--no-wait")
    screen.expect("the class is the folder that an image lies in")
    screen.expect("Is that what you mean?")
    screen.type("n\n")
    assert screen.end() == 1
    assert json.loads(run("learners", "--json")[1]) == []
    screen = terminal("learn", "pets", "photos", *TINY, "--no-wait")
    screen.expect("Is that what you mean?")
    screen.type("y\n")
    screen.expect("3 classes, 9 images to learn from, 3 kept out")
    assert screen.end() == 0
    screen = terminal("learn", "other", "photos", *TINY, "--no-wait", "--yes")
    assert screen.end() == 0
    assert "Is that what you mean?" not in screen.text


def test_ctrl_c_ends_the_watching_and_says_that_the_task_goes_on(run, terminal, tmp_path):
    put(tmp_path / "photos", ("dog", "cat"))
    screen = terminal("learn", "pets", "photos", *TINY)
    screen.expect("queued")  # nobody learns: it stays so
    screen.process.send_signal(signal.SIGINT)
    assert screen.end() == 130
    [task] = json.loads(run("tasks", "pets", "--json")[1])
    assert f"filopodia task {task['id']}" in screen.text
    assert f"filopodia cancel {task['id']}" in screen.text
    assert "Traceback" not in screen.text
    assert task["status"] == "queued"
