"""`filopodia predict` with an archive: a job answers its images, and they are shown as those of a folder are."""

import csv
import io
import json
import re
import signal
import tarfile
import threading
import zipfile

import pytest
from typer.testing import CliRunner

from registry import prediction_jobs
from service.cli.main import app as commands
from tests.factories import make_image
from tests.waiting import wait_until

OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture
def pack(tmp_path):
    """Returns a function that writes a zip of such files, and returns where it lies."""

    def run(files, name="photos.zip"):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for inner, data in files.items():
                archive.writestr(inner, data)
        return tmp_path / name

    return run


@pytest.fixture
def photos(pack):
    """Five pictures of herons and egrets, and a note."""
    files = {f"pond/{i}.png": make_image("heron", 20 + i) for i in range(3)}
    files |= {f"{i}.png": make_image("egret", 20 + i) for i in range(2)}
    return pack({**files, "notes.txt": b"Seen on Sunday."})


def listed(run):
    return json.loads(run("jobs", "birds", "--json").output)


def test_its_images_have_a_line_each_and_a_sum(run, known_birds, photos):
    result = run("predict", known_birds, photos)
    assert result.exit_code == 0, result.output
    rows = [line.split() for line in result.stdout.splitlines()]
    assert [row[:2] for row in rows[1:6]] == [
        ["pond/0.png", "heron"],
        ["pond/1.png", "heron"],
        ["pond/2.png", "heron"],
        ["0.png", "egret"],
        ["1.png", "egret"],
    ]
    assert "5 of 5 images answered by version 1, 3 heron, 2 egret" in result.stdout
    [job] = listed(run)
    assert f"{job['id']}: 5 images, by version 1" in result.stderr
    assert json.loads(run("predictions", known_birds, "--json").output) == []


def test_one_that_cannot_be_used_is_named_and_the_others_are_answered(run, known_birds, pack):
    photos = pack({"a.png": make_image("heron", 20), "b.jpg": b"no image at all"})
    result = run("predict", known_birds, photos)
    assert result.exit_code == 1
    assert "1 of 2 images answered by version 1, 1 heron" in result.stdout
    assert "Could not be used: 1." in result.stdout
    [bad] = [line for line in result.stdout.splitlines() if line.startswith("b.jpg")]
    assert len(bad.split()) > 4, bad
    [job] = listed(run)
    again = run("job", job["id"])
    assert again.exit_code == 1
    assert "Could not be predicted: 1." in again.stdout
    assert "  b.jpg: " in again.stdout


def test_csv_has_the_columns_of_every_predict(run, known_birds, photos, tmp_path):
    table = run("predict", known_birds, photos, "--csv", "-")
    assert table.exit_code == 0, table.output
    rows = list(csv.DictReader(io.StringIO(table.stdout)))
    assert [(row["file"], row["label"], row["version"]) for row in rows[2:4]] == [
        ("pond/2.png", "heron", "1"),
        ("0.png", "egret", "1"),
    ]
    assert {row["known"] for row in rows} <= {"true", "false"}
    assert "5 of 5 images answered by version 1" in table.stderr
    file = tmp_path / "answers.csv"
    assert run("predict", known_birds, photos, "--csv", file).exit_code == 0
    assert file.read_text("utf-8") == run("job", listed(run)[0]["id"], "--csv", "-").stdout


def test_json_is_the_job_with_its_results(run, known_birds, photos):
    result = run("predict", known_birds, photos, "--json", "--top", 1, "--version", 1)
    answer = json.loads(result.stdout)
    assert (answer["status"], answer["version"], answer["images"]["done"]) == ("succeeded", 1, 5)
    assert [item["file"] for item in answer["results"]][-2:] == ["0.png", "1.png"]
    assert {len(item["top"]) for item in answer["results"]} == {1}
    assert run("predict", known_birds, photos, "--version", 9).exit_code == 1


def test_a_tar_does_as_well(run, known_birds, tmp_path):
    data = make_image("egret", 30)
    with tarfile.open(tmp_path / "photos.tar.GZ", "w:gz") as archive:
        entry = tarfile.TarInfo("a.png")
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    result = run("predict", known_birds, tmp_path / "photos.tar.GZ")
    assert result.exit_code == 0, result.output
    assert "1 egret" in result.stdout


def test_a_folder_that_is_called_like_an_archive_is_a_folder(run, known_birds, tmp_path):
    (tmp_path / "photos.zip").mkdir()
    (tmp_path / "photos.zip" / "a.png").write_bytes(make_image("egret", 30))
    assert "1 of 1 images answered" in run("predict", known_birds, tmp_path / "photos.zip").output
    assert listed(run) == []


def test_no_terminal_obeys_a_name_in_it(run, known_birds, pack):
    photos = pack({"a\x1b[2Jb\u202egnp.png": make_image("heron", 20)})
    for more in ([], ["--json"], ["--csv", "-"]):
        result = run("predict", known_birds, photos, *more)
        assert result.exit_code == 0, result.output
        assert OBEYED.search(result.output) is None, ascii(result.output)


def test_without_waiting_it_says_how_to_look(run, known_birds, app, photos):
    app.state.context.jobs.stop()
    result = run("predict", known_birds, photos, "--no-wait")
    [job] = listed(run)
    assert result.exit_code == 0, result.output
    assert f"{job['id']}: 5 images, by version 1" in result.stdout
    assert f"`filopodia job {job['id']}`" in result.stdout
    posted = json.loads(run("predict", known_birds, photos, "--no-wait", "--json").stdout)
    assert posted["status"] == "queued"


def test_what_is_not_to_be_kept_is_deleted_once_it_was_shown(run, known_birds, photos):
    result = run("predict", known_birds, photos, "--no-store")
    assert result.exit_code == 0, result.output
    assert "5 of 5 images answered" in result.stdout
    assert listed(run) == []


def test_a_job_that_fails_shows_what_was_answered_and_why_not_more(
    run, known_birds, app, photos, session_factory
):
    app.state.context.jobs.stop()

    def answer_one_and_fail():
        def claim():
            with session_factory.begin() as session:
                return prediction_jobs.claim_next(session, 60)

        job = wait_until(claim)
        result = {"label": "heron", "score": 0.9, "known": True, "novelty": 0.1, "task": 1}
        with session_factory.begin() as session:
            answers = [prediction_jobs.JobAnswer(0, {**result, "top": []})]
            prediction_jobs.give_back(session, job, answers)
        job = wait_until(claim)
        with session_factory.begin() as session:
            prediction_jobs.fail(session, job, "version-erased", "The version was unlearned.")

    service = threading.Thread(target=answer_one_and_fail)
    service.start()
    result = run("predict", known_birds, photos)
    service.join()
    assert result.exit_code == 1
    assert "1 of 1 images answered by version 1, 1 heron" in result.stdout
    said = " ".join(result.stderr.split())
    assert "1 of 5 images done, version-erased: The version was unlearned." in said
    shown = run("job", listed(run)[0]["id"])
    assert shown.exit_code == 1
    assert "failed" in shown.stdout
    assert "version-erased: The version was unlearned." in shown.stdout


@pytest.mark.parametrize("keeps", [True, False])
def test_ctrl_c_ends_the_watching_and_says_how_to_go_on(
    run, known_birds, app, photos, terminal, address, role_keys, keeps
):
    app.state.context.jobs.stop()  # nobody answers: it stays queued
    more = () if keeps else ("--no-store",)
    options = ("--url", address, "--key", role_keys["trainer"], *more)
    screen = terminal("predict", known_birds, photos, *options)
    screen.expect("queued")
    screen.process.send_signal(signal.SIGINT)
    assert screen.end() == 130
    assert "Traceback" not in screen.text
    jobs = listed(run)
    assert [job["status"] for job in jobs] == ["queued"] * keeps
    if keeps:
        assert f"filopodia job {jobs[0]['id']}" in screen.text
        assert f"filopodia cancel {jobs[0]['id']}" in screen.text
    else:
        assert "Deleted job_" in screen.text
        assert "goes on" not in screen.text


def test_an_archive_that_is_none_is_refused_in_a_sentence(run_on_birds, tmp_path):
    (tmp_path / "photos.zip").write_bytes(b"no archive at all")
    code, said = run_on_birds("predict", "birds", "photos.zip")
    assert code == 1
    assert "(archive-rejected)" in said
    with zipfile.ZipFile(tmp_path / "notes.zip", "w") as archive:
        archive.writestr("notes.txt", b"-")
    code, said = run_on_birds("predict", "birds", "notes.zip")
    assert code == 1
    assert "There is no image that can be used. (missing-image)" in said


def test_a_service_without_jobs_is_told_of_in_a_sentence(run_on_birds, app, photos, monkeypatch):
    routes = app.router.routes
    older = [route for route in routes if "prediction-jobs" not in getattr(route, "path", "")]
    assert len(older) < len(routes)
    monkeypatch.setattr(app.router, "routes", older)
    for command in (
        ("predict", "birds", photos),
        ("predict-again", "birds"),
        ("jobs", "birds"),
        ("job", "job_06gzprw7k1wn602jrcpppcr0a5"),
        ("cancel", "job_06gzprw7k1wn602jrcpppcr0a5"),
        ("delete", "job_06gzprw7k1wn602jrcpppcr0a5"),
    ):
        code, said = run_on_birds(*command)
        assert code == 1
        assert "older than this command and has no prediction jobs" in " ".join(said.split()), said


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["photos.zip", "a.png"], "name photos.zip alone"),
        (["photos.zip", "more.tgz"], "name photos.zip alone"),
        (["photos.zip", "--no-wait", "--csv", "-"], "leave --csv out"),
        (["photos.zip", "--no-wait", "--no-store"], "leave --no-wait out"),
        (["a.png", "--no-wait"], "go with an archive"),
        (["a.png", "--encoding", "cp850"], "go with an archive"),
    ],
)
def test_wrong_use_is_said_without_a_service(arguments, reason, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("photos.zip", "more.tgz", "a.png"):
        (tmp_path / name).write_bytes(b"-")
    result = CliRunner().invoke(commands, ["predict", "birds", *arguments, "--key", "fil_x_y"])
    assert result.exit_code == 2
    assert reason in " ".join(result.output.replace("│", "").split())
