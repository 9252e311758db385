"""What the pages say of the worker, the parts of the service and its log, with parts that really fail."""

import html
import os
import re
import signal
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from registry import workers
from registry.log_lines import LOG_LINES
from registry.loops import SteadyThread
from service.use_cases.condition import PARTS
from service.worker_process import WorkerProcess
from tests.processes import children
from tests.waiting import wait_until

DOWN = "The worker is down: nothing is learned until it is up again."
NO_WORKER = "No worker is there: nothing is learned until one starts."


@pytest.fixture
def health(app):
    return app.state.context.health


@pytest.fixture
def read(browser):
    """Returns a function that reads a page as its text."""

    def run(path, by=browser):
        answer = by.get(path)
        assert answer.status_code == 200
        words = html.unescape(re.sub(r"<[^>]+>", " ", answer.text))
        return " ".join(words.split())

    return run


@pytest.fixture
def embedded(settings, database_url, health):
    """Returns a function that starts the worker of the service, which ends with the test."""
    started = []

    def start():
        process = WorkerProcess(settings, database_url)
        health.watch_worker(process)
        process.start()
        started.append(process)
        return process

    yield start
    for process in started:
        process.stop()


def kill_workers():
    for pid in children(os.getpid()):
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            if b"worker.local" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)


def test_without_a_worker_the_first_page_says_that_nothing_is_learned(read, session):
    wait_until(lambda: NO_WORKER in read("/admin"))
    assert NO_WORKER in read("/admin/tasks")
    workers.announce(
        session, "gpu-1", kind="celery", host="box", pid=7, device="cpu", slots=1, version="0"
    )
    session.commit()
    wait_until(lambda: NO_WORKER not in read("/admin"))
    assert "up What is posted is learned." in read("/admin/tasks")


def test_a_worker_that_died_is_told_until_it_is_up_again_and_counted_then(read, health, embedded):
    embedded()
    wait_until(lambda: health.worker == "up")
    assert "worker" not in read("/admin")
    kill_workers()
    # The page may be too slow for the second until it starts again: then it is killed once more.
    wait_until(lambda: DOWN in read("/admin") or kill_workers())
    wait_until(lambda: health.worker == "up")
    assert DOWN not in read("/admin")
    assert re.search(r"it has died and was started again (once|\d+ times)", read("/admin/tasks"))


def test_settings_the_worker_cannot_use_are_named_to_admins_only(
    read, visitor, log_in, role_keys, health, embedded, monkeypatch
):
    monkeypatch.setenv("FILOPODIA_SLOTS", "many")
    embedded()
    wait_until(lambda: health.worker == "refused")
    says = "The worker cannot work with its settings: nothing is learned until they are corrected"
    assert says in read("/admin")
    assert "FILOPODIA_SLOTS must be a whole number" in read("/admin/tasks")
    log_in(role_keys["trainer"])
    assert says in read("/admin/tasks", visitor)
    assert "FILOPODIA_SLOTS" not in read("/admin/tasks", visitor)


def test_every_part_has_its_words(read, health):
    names = {thread.name for thread in health.threads}
    assert names < PARTS.keys()
    # What `serve` starts besides.
    assert PARTS.keys() - names == {"doorbell", "postgres", "worker-process"}
    page = read("/admin/tasks")
    for name in names:
        assert f"{PARTS[name][0]} up 0" in page


def test_a_part_that_fails_is_told_with_what_that_means(read, health):
    broken = SteadyThread("doorbell", lambda: 1 / 0, first_pause_s=60)
    health.watch(broken)
    says = "Calling workers does not work"
    assert f"{says}: workers on Celery may not hear of new tasks." in read("/admin")
    broken.start()
    wait_until(lambda: broken.state == "failing")
    assert f"{says}, and is tried again within seconds: " in read("/admin")
    assert "Calling workers failing workers on Celery may not hear of new tasks 1" in read(
        "/admin/tasks"
    )
    broken.join()


def test_one_of_another_name_is_told_by_it(read, health):
    health.watch(SteadyThread("something-new", lambda: None))
    assert "something-new does not work: something of the service does not work." in read("/admin")


def test_lines_missing_from_the_log_are_counted(read, monkeypatch):
    before = LOG_LINES.dropped
    assert before or "The log is complete." in read("/admin/tasks")
    with monkeypatch.context() as patch, Path("/dev/full").open("w") as full:
        patch.setattr(sys, "stderr", full)
        LOG_LINES.write("lost\n")
        wait_until(lambda: LOG_LINES.dropped > before)
    lost = LOG_LINES.dropped
    lines = "1 line" if lost == 1 else f"{lost} lines"
    assert f"{lines} of the log could not be written" in read("/admin/tasks")
