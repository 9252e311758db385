"""The fault tests: a short run against a real cluster, and whether their checker sees what it should see."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete
from sqlalchemy.orm import Session

from benchmarks.chaos import checker, measures
from benchmarks.chaos.checker import Rows
from benchmarks.chaos.clients import ClientRecord, Upload
from benchmarks.chaos.cluster import RUN_VARIABLE
from benchmarks.chaos.history import Answer
from benchmarks.chaos.nemesis import InjectedFault
from benchmarks.chaos.pictures import picture
from benchmarks.chaos.programs import Lifetime, Program
from benchmarks.chaos.run import ROOT
from benchmarks.chaos.schedule import QUICK, Fault, find_places, make_schedule
from benchmarks.chaos.system import belonging_to
from benchmarks.chaos.windows import Window
from registry import learners, tasks
from registry.blobs.store import LocalBlobStore
from registry.samples import NewSample, add_samples
from registry.tables import LearnerRow, SampleRow, TaskRow, VersionRow
from tests.waiting import PACE, is_within, wait_until

MAX_PACE = 4.0
"""A run lasts two minutes times the pace; on a machine that is slower still it has to do with four times that."""


@pytest.mark.chaos
@pytest.mark.slow
@pytest.mark.timed(group="faults")
@pytest.mark.timeout(600)
def test_promises_are_kept_while_processes_are_killed(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    command, pace = [sys.executable, "-m", "benchmarks.chaos"], min(MAX_PACE, PACE.factor)
    run = subprocess.run(
        [*command, "--profile", "quick", "--pace", f"{pace:.2f}", "--out", str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    # What was broken comes last, where it is read first.
    broken = [line for line in run.stdout.splitlines() if line.startswith("- ")]
    assert run.returncode == 0, "\n".join([run.stdout, run.stderr[-2000:], *broken])
    report = json.loads(file.read_text())
    # A run without load would prove nothing.
    assert report["uploads"]["acknowledged"] >= 5
    assert report["jobs"]["images_answered"] >= 200
    assert report["predictions"]["during faults"]["answered"] >= 500


class TestSchedule:
    def test_same_seed_gives_the_same_faults(self) -> None:
        places = find_places(ROOT)
        assert make_schedule(QUICK, places, 3) == make_schedule(QUICK, places, 3)
        assert make_schedule(QUICK, places, 3) != make_schedule(QUICK, places, 4)

    def test_every_failpoint_in_the_source_is_struck(self) -> None:
        places = find_places(ROOT)
        assert {"upload.after_commit", "claim.before_commit", "serve.after_swap"} <= set(places)
        struck = {f.place for f in make_schedule(QUICK, places, 1) if f.action == "kill"}
        assert struck == set(places)

    def test_a_slow_machine_gets_the_same_faults_over_a_longer_time(self) -> None:
        places, slow = find_places(ROOT), QUICK.slowed(3)
        assert make_schedule(slow, places, 3) == make_schedule(QUICK, places, 3)
        assert (slow.fault_s, slow.drain_s) == (3 * QUICK.fault_s, 3 * QUICK.drain_s)
        assert slow.min_kills == QUICK.min_kills


class TestUploads:
    @pytest.fixture
    def record(self, session: Session, blobs: LocalBlobStore) -> ClientRecord:
        learners.create_learner(
            session, "l", strategy="simplecil", backbone="tiny", config={}, halved_to=288
        )
        images = [picture(1, 2, n) for n in range(2)]
        task = tasks.add_task(
            session,
            "l",
            name="key",
            mode="new_classes",
            options={},
            config={},
            seed=0,
            classes=["a"],
            n_train=2,
            n_eval=0,
        )
        new = [
            NewSample(
                label="a", split="train", blob_sha256=sha256, filename=None, width=24, height=24
            )
            for sha256 in blobs.put_many(images)
        ]
        add_samples(session, task.id, new, blobs)
        session.commit()
        files = [("a", image) for image in images]
        return ClientRecord(
            [Upload("key", "l", ["a"], files, {}, outcome="ok", task_ids={task.id})]
        )

    def broken(self, session: Session, record: ClientRecord, blobs: LocalBlobStore) -> list[str]:
        verdicts = checker.check_uploads(checker.read_rows(session), record, blobs)
        return [verdict.name for verdict in verdicts if not verdict.is_kept]

    def test_whole_upload_is_fine(
        self, session: Session, record: ClientRecord, blobs: LocalBlobStore
    ) -> None:
        assert self.broken(session, record, blobs) == []

    def test_lost_task_is_noticed(
        self, session: Session, record: ClientRecord, blobs: LocalBlobStore
    ) -> None:
        session.execute(delete(TaskRow))
        assert self.broken(session, record, blobs) == [
            "acknowledged uploads are there, with every image"
        ]

    def test_lost_image_of_an_unanswered_upload_is_noticed(
        self, session: Session, record: ClientRecord, blobs: LocalBlobStore
    ) -> None:
        record.uploads[0].outcome = "unknown"
        assert self.broken(session, record, blobs) == []
        session.execute(delete(SampleRow).where(SampleRow.position == 1))
        assert self.broken(session, record, blobs) == [
            "unanswered uploads are there wholly or not at all"
        ]

    def test_lost_blob_is_noticed(
        self, session: Session, record: ClientRecord, blobs: LocalBlobStore
    ) -> None:
        for sample in checker.read_rows(session).samples.popitem()[1]:
            blobs.delete(sample.blob_sha256)
        assert self.broken(session, record, blobs) == [
            "acknowledged uploads are there, with every image"
        ]

    def test_task_that_nobody_uploaded_is_noticed(
        self, session: Session, record: ClientRecord, blobs: LocalBlobStore
    ) -> None:
        record.uploads.clear()
        assert self.broken(session, record, blobs) == ["one task an idempotency key"]


def rows(*numbers: int, live: int, statuses: tuple[str, ...] = ("succeeded", "succeeded")) -> Rows:
    """One learner with tasks `t1`, `t2`, and versions of these numbers in the order of the tasks."""
    now = time.time()
    learner = LearnerRow(id="l", name="learner", head_version=live)
    own = [TaskRow(id=f"t{i}", status=status) for i, status in enumerate(statuses, 1)]
    versions = [
        VersionRow(learner_id="l", number=n, parent=n - 1 or None, task_id=f"t{i}")
        for i, n in enumerate(numbers, 1)
    ]
    for version in versions:
        version.created_at = datetime.fromtimestamp(now + 10 * version.number, UTC)
    return Rows([learner], own, {}, versions, {"l": live}, {})


def broken_tasks(found: Rows) -> list[str]:
    return [verdict.name for verdict in checker.check_tasks(found) if not verdict.is_kept]


class TestTasks:
    def test_good_rows_are_fine(self) -> None:
        assert broken_tasks(rows(1, 2, live=2)) == []

    def test_gap_is_noticed(self) -> None:
        assert "gaps" in broken_tasks(rows(1, 3, live=3))[0]

    def test_alias_behind_is_noticed(self) -> None:
        assert "alias" in broken_tasks(rows(1, 2, live=1))[0]

    def test_unfinished_task_is_noticed(self) -> None:
        assert "ended" in broken_tasks(rows(1, live=1, statuses=("succeeded", "running")))[0]

    def test_unexplained_failure_and_missing_version_are_noticed(self) -> None:
        assert "exactly one" in broken_tasks(rows(1, live=1))[0]
        assert "exactly one" in broken_tasks(rows(1, live=1, statuses=("succeeded", "failed")))[0]

    def test_consolidations_end_like_tasks_and_may_be_declined_or_cancelled(self) -> None:
        found = rows(1, 2, live=2)
        for status in ("declined", "cancelled", "failed"):
            found.tasks.append(TaskRow(id=status, mode="consolidate", status=status))
            found.tasks[-1].result = {"reason": "No better."} if status == "declined" else None
            error = {"code": "worker-lost", "detail": "It was lost."}
            found.tasks[-1].error = error if status == "failed" else None
        found.tasks[1].mode = "consolidate"
        assert broken_tasks(found) == []
        found.tasks[2].result = None
        assert "exactly one" in broken_tasks(found)[0]
        found.tasks[3].status = "queued"
        assert "ended" in broken_tasks(found)[0]

    def test_a_task_may_be_neither(self) -> None:
        for status in ("declined", "cancelled"):
            found = rows(1, live=1, statuses=("succeeded", status))
            found.tasks[1].result = {"reason": "No better."}
            assert "ended" in broken_tasks(found)[0]

    def test_an_artifact_of_a_consolidation_knows_what_was_known(self) -> None:
        task, version = TaskRow(id="t", mode="consolidate", classes=[]), VersionRow(classes=["a"])
        assert checker._known_after(["a"], task, version) == ["a"]


def answer(at: float, version: int, *, api: str = "api1", label: str = "a") -> Answer:
    return Answer("direct", api, "learner", 0, at, at + 0.1, "ok", 200, version, label, 0.9)


class TestAnswers:
    def broken(self, found: Rows, *answers: Answer, away: tuple[Window, ...] = ()) -> list[str]:
        verdicts = measures.check_versions_answered(answers, found, away)
        return [verdict.name for verdict in verdicts if not verdict.is_kept]

    def test_stale_answer_is_noticed_unless_the_database_was_away(self) -> None:
        moved = rows(1, 2, live=2)
        replaced_at = moved.versions[1].created_at.timestamp()
        assert self.broken(moved, answer(replaced_at + 4, 1)) == []
        assert self.broken(moved, answer(replaced_at + 7, 1)) != []
        away = Window(replaced_at + 1, replaced_at + 6)
        assert self.broken(moved, answer(replaced_at + 7, 1), away=(away,)) == []

    def test_answer_of_a_version_that_is_not_there_yet_is_noticed(self) -> None:
        moved = rows(1, 2, live=2)
        first = moved.versions[0].created_at.timestamp()
        assert self.broken(moved, answer(first - 5, 1)) != []
        assert self.broken(moved, answer(first + 5, 3)) != []

    def test_two_answers_of_one_version_are_noticed(self) -> None:
        moved = rows(1, 2, live=2)
        at = moved.versions[0].created_at.timestamp() + 1
        assert self.broken(moved, answer(at, 1), answer(at, 1, api="api2")) == []
        assert self.broken(moved, answer(at, 1), answer(at, 1, api="api2", label="b")) != []


class TestProgram:
    def test_is_started_again_when_killed_and_was_down_meanwhile(self, program: Program) -> None:
        first = program.signal(signal.SIGKILL)
        assert first is not None
        assert first.leaving_at is not None
        wait_until(lambda: program.current not in (first, None))
        wait_until(lambda: program.is_ready)
        assert first.exit_code == -signal.SIGKILL
        later = program.lifetimes[-1].ready_at or 0.0
        assert not program.was_up(first.leaving_at - 1, later + 1)
        assert program.was_up(later, later + 1)

    def test_leaves_nothing_when_stopped(self, program: Program, tmp_path: Path) -> None:
        assert len(belonging_to(RUN_VARIABLE, tmp_path.name, tmp_path)) == 1
        took = program.stop()
        assert took is not None
        assert is_within(took, 10)
        assert belonging_to(RUN_VARIABLE, tmp_path.name, tmp_path) == {}

    def test_prediction_that_fails_counts_unless_its_api_was_down(self, program: Program) -> None:
        ready_at = program.lifetimes[0].ready_at or 0.0
        apis = {"api1": program}
        failed = replace(answer(ready_at + 1, 1), outcome="ConnectError", status=None)
        early = replace(failed, started_at=ready_at - 1)
        found = measures.rate([answer(ready_at + 1, 1), failed, early], apis)
        assert (found["answered"], found["failed"], found["failed_at_a_dead_api"]) == (1, 1, 1)
        assert found["success"] == 0.5


def kill(at: float) -> InjectedFault:
    return InjectedFault(Fault("kill_worker"), at, at, 1, {"tasks": ["t1"]})


class TestTakeovers:
    def found(
        self, *struck: InjectedFault, starts: list[float], mode: str = "new_classes"
    ) -> dict[str, dict[str, Any]]:
        created = datetime.fromtimestamp(0, UTC)
        task = TaskRow(id="t1", mode=mode, status="succeeded", created_at=created, finished_at=None)
        return measures.takeovers(struck, Rows([], [task], {}, [], {}, {"t1": starts}), [])

    def test_wait_runs_from_the_kill_to_the_next_start(self) -> None:
        found = self.found(kill(100), starts=[90, 104, 120])
        assert found["kill_worker, undisturbed"]["max_s"] == 4
        assert found["kill_worker, undisturbed"]["late"] == []

    def test_late_one_is_named(self) -> None:
        assert self.found(kill(100), starts=[90, 112])["kill_worker, undisturbed"]["late"] != []

    def test_a_consolidation_may_take_its_time(self) -> None:
        assert self.found(kill(100), starts=[90, 112], mode="consolidate") == {}

    def test_wait_with_another_fault_in_it_counts_apart(self) -> None:
        flush = InjectedFault(Fault("flush_redis"), 105, 105)
        assert list(self.found(kill(100), flush, starts=[90, 112])) == ["kill_worker, disturbed"]


def test_outages_are_gaps_in_the_answers_and_the_time_to_reconnect() -> None:
    seen = [0.0, 0.5, 3.0, 3.5, 6.0, 20.0]
    assert measures.outages(seen) == [Window(0.5, 8.0), Window(8.0, 11.0), Window(11.0, 25.0)]


def test_api_is_up_between_ready_and_killed() -> None:
    lifetime = Lifetime(pid=1, started_at=0, ready_at=10)
    assert lifetime.is_up(11, 12)
    assert not lifetime.is_up(9, 12)
    lifetime.leaving_at = 20
    assert lifetime.is_up(18, 19)
    assert not lifetime.is_up(19, 21)


def test_tracebacks_are_found_in_both_forms() -> None:
    logged = {"event": "x", "exception": [{"exc_type": "KeyError", "exc_value": "'a'"}]}
    printed = ["Traceback (most recent call last):", '  File "a.py", line 1', "ValueError: b"]
    lines = [json.dumps({"event": "fine"}), json.dumps(logged), *printed, "more"]
    assert checker.tracebacks(lines) == ["x: KeyError: 'a'", "ValueError: b"]
