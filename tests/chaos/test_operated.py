"""Whether the judges of operations and of power cuts see what is broken: made-up histories, each wrong in one way."""

import math
import os
import signal
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from benchmarks.chaos import checker, operated
from benchmarks.chaos.checker import Rows
from benchmarks.chaos.clients import ClientRecord, Upload
from benchmarks.chaos.cluster import LEASE_S
from benchmarks.chaos.insisting import Operation, PredictedLabel
from benchmarks.chaos.judged_jobs import StoredJobs
from benchmarks.chaos.nemesis import FREEZE_S
from benchmarks.chaos.operated import StoredFeedback, Write, possible
from benchmarks.chaos.operations import ObservedVersion, OperatorLog
from benchmarks.chaos.power import Cut, acknowledged, judge_rows
from benchmarks.chaos.programs import Program
from benchmarks.chaos.run import ROOT
from benchmarks.chaos.schedule import PROFILES, find_places, make_schedule
from benchmarks.chaos.system import is_frozen
from benchmarks.chaos.windows import Window
from registry.blobs.store import LocalBlobStore
from registry.tables import LearnerRow, SampleRow, TaskRow, VersionRow
from tests.waiting import wait_until

T0 = 1_000_000.0
"""When the made-up learner's first version was published, in seconds since 1970."""
EVERY_S = 100.0


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(T0 + seconds, UTC)


def task(n: int, *classes: str, mode: str = "new_classes", status: str = "succeeded") -> TaskRow:
    return TaskRow(
        id=f"t{n}", learner_id="l", mode=mode, status=status, classes=list(classes), name=f"key-{n}"
    )


def version(n: int, *classes: str, erased: bool = False) -> VersionRow:
    return VersionRow(
        learner_id="l",
        number=n,
        parent=n - 1 or None,
        task_id=f"t{n}",
        classes=list(classes),
        manifest_sha256=None if erased else "00",
        created_at=at(EVERY_S * (n - 1)),
    )


def sample(n: int, label: str) -> SampleRow:
    return SampleRow(task_id=f"t{n}", label=label, blob_sha256="00")


@pytest.fixture
def rows() -> Rows:
    """A learner that learned a and b, then c and d, then unlearned c; and one that was imported."""
    return Rows(
        learners=[
            LearnerRow(id="l", name="operated", head_version=3),
            LearnerRow(id="i", name="imported-1", head_version=1),
        ],
        tasks=[task(1, "a", "b"), task(2, "c", "d"), task(3, "c", mode="unlearn")],
        samples={"t1": [sample(1, "a"), sample(1, "b")], "t2": [sample(2, "d")]},
        versions=[
            version(1, "a", "b"),
            version(2, "a", "b", "c", "d", erased=True),
            version(3, "a", "b", "d"),
            VersionRow(learner_id="i", number=1, parent=None, task_id="x", created_at=at(250)),
        ],
        live={"l": 1, "i": 1},
        starts={},
    )


def operation(kind: str, outcome: str = "ok", *, when: float = 300.0, **what: Any) -> Operation:
    answer = {"id": what.pop("task", "t3")}
    ended = None if outcome == "unknown" else T0 + when + 1
    refusal = what.pop("refusal", None)
    started = T0 + when
    return Operation(kind, kind, started, what, ended, outcome, refusal, answer, tries=1)  # type: ignore[arg-type]


def move(number: int, when: float, outcome: str = "ok") -> Operation:
    return operation("move", outcome, when=when, version=number)


FEEDBACK = {"prediction": "p", "index": 0, "label": "a"}
KEPT = StoredFeedback({("p", 0): "a"})


def done() -> OperatorLog:
    """What went well on that learner: it is rolled back to version 1 in the end."""
    opinions = [PredictedLabel(0, "a", 0.75)]
    return OperatorLog(
        operations=[
            operation("unlearn", when=150, classes=["c"]),
            operation("feedback", **FEEDBACK),
            operation("import", name="imported-1", version=2),
            move(1, 300),
        ],
        aliases=[ObservedVersion(T0 + 250, T0 + 251, 3), ObservedVersion(T0 + 302, T0 + 303, 1)],
        answers=[ObservedVersion(T0 + 250, T0 + 251, 3), ObservedVersion(T0 + 320, T0 + 321, 1)],
        compared=[("imported-1", opinions, [PredictedLabel(0, "a", 0.7501)])],
        uploads=ClientRecord(),
    )


def broken(
    found: OperatorLog, rows: Rows, kept: StoredFeedback = KEPT, away: tuple[Window, ...] = ()
) -> list[str]:
    verdicts = operated.check(found, rows, kept, away, learner="operated", stale_s=5.0)
    return [verdict.name for verdict in verdicts if not verdict.is_kept]


class TestUnlearning:
    NAME = "an unlearning that was acknowledged is done, or explained"

    def test_what_went_well_is_fine(self, rows: Rows) -> None:
        assert broken(done(), rows) == []

    def test_a_version_that_still_knows_it_is_noticed(self, rows: Rows) -> None:
        rows.versions[1].manifest_sha256 = "00"
        assert broken(done(), rows) == [self.NAME]

    def test_an_image_that_stayed_is_noticed(self, rows: Rows) -> None:
        rows.samples["t2"].append(sample(2, "c"))
        assert broken(done(), rows) == [self.NAME]

    def test_a_task_that_never_ended_is_noticed(self, rows: Rows) -> None:
        rows.tasks[2].status = "running"
        assert self.NAME in broken(done(), rows)

    def test_a_task_that_is_gone_is_noticed(self, rows: Rows) -> None:
        log = done()
        log.operations[0].answer = {"id": "other"}
        assert broken(log, rows) == [self.NAME]

    def test_an_explained_failure_is_fine_and_another_is_not(self, rows: Rows) -> None:
        failed = replace(rows, versions=[v for v in rows.versions if v.number != 3])
        failed.tasks[2].status = "failed"
        failed.tasks[2].error = {"code": "worker-lost", "detail": "It was lost."}
        found = replace(done(), aliases=[], answers=[])
        assert broken(found, failed) == []
        failed.tasks[2].error = {"code": "worker-lost", "detail": ""}
        assert self.NAME in broken(found, failed)

    def test_a_refusal_without_a_reason_is_noticed(self, rows: Rows) -> None:
        log = done()
        log.operations.append(
            operation("unlearn", "fail", refusal="unknown-content", classes=["z"])
        )
        assert broken(log, rows) == []
        log.operations[-1].refusal = "internal"
        assert broken(log, rows) == ["an operation is refused only for what has happened"]


class TestFeedback:
    NAME = "feedback that was acknowledged is kept"

    @pytest.mark.parametrize(
        "kept", [StoredFeedback(), StoredFeedback({("p", 0): "b"}), StoredFeedback({("p", 1): "a"})]
    )
    def test_lost_or_altered_feedback_is_noticed(self, rows: Rows, kept: StoredFeedback) -> None:
        assert broken(done(), rows, kept) == [self.NAME]

    def test_feedback_of_a_class_that_was_unlearned_may_go(self, rows: Rows) -> None:
        log = done()
        log.operations[1].what["label"] = "c"
        assert broken(log, rows, StoredFeedback()) == []

    def test_feedback_that_nobody_acknowledged_may_be_lost(self, rows: Rows) -> None:
        log = done()
        log.operations[1].outcome = "unknown"
        assert broken(log, rows, StoredFeedback()) == []


class TestRollback:
    READ = "the alias reads as what it was moved to last"
    ANSWERED = "an answer after a rollback is of the version moved to"

    def test_an_alias_that_went_back_by_itself_is_noticed(self, rows: Rows) -> None:
        log = done()
        log.aliases.append(ObservedVersion(T0 + 330, T0 + 331, 3))
        assert broken(log, rows) == [self.READ]

    def test_a_move_that_was_lost_in_the_end_is_noticed(self, rows: Rows) -> None:
        rows.live["l"] = 3
        assert broken(done(), rows) == [self.READ]

    def test_a_move_without_an_answer_may_have_come_or_not(self, rows: Rows) -> None:
        log = done()
        log.operations.append(move(3, 350, "unknown"))
        for version_read in (1, 3):
            later = replace(
                log, aliases=[*log.aliases, ObservedVersion(T0 + 360, T0 + 361, version_read)]
            )
            assert broken(later, rows) == []

    def test_a_refused_move_must_not_come(self, rows: Rows) -> None:
        log = done()
        log.operations.append(replace(move(3, 350, "fail"), refusal="version-erased"))
        log.aliases.append(ObservedVersion(T0 + 360, T0 + 361, 3))
        assert broken(log, rows) == [self.READ]

    def test_an_answer_of_the_version_before_is_stale_after_a_while(self, rows: Rows) -> None:
        log = done()
        log.answers.append(ObservedVersion(T0 + 304, T0 + 304.5, 3))
        assert broken(log, rows) == []
        log.answers.append(ObservedVersion(T0 + 310, T0 + 311, 3))
        assert broken(log, rows) == [self.ANSWERED]
        assert broken(log, rows, away=(Window(T0 + 299, T0 + 309),)) == []

    def test_writes_that_overlap_may_have_come_in_either_order(self) -> None:
        writes = [Write(1, 0, 1), Write(2, 10, 14), Write(3, 12, 16)]
        assert possible(writes, 5, 5) == {1}
        assert possible(writes, 13, 13) == {1, 2, 3}
        assert possible(writes, 20, 20) == {2, 3}
        assert possible([*writes, Write(4, 17, 18)], 20, math.inf) == {4}


class TestBundles:
    def test_an_import_that_is_gone_is_noticed(self, rows: Rows) -> None:
        less = replace(rows, versions=[v for v in rows.versions if v.learner_id != "i"])
        assert broken(done(), less) == ["an import that was acknowledged is there, as version 1"]

    @pytest.mark.parametrize("other", [PredictedLabel(0, "b", 0.75), PredictedLabel(0, "a", 0.5)])
    def test_another_answer_than_the_exported_version_gives_is_noticed(
        self, rows: Rows, other: PredictedLabel
    ) -> None:
        found = replace(done(), compared=[("imported-1", [PredictedLabel(0, "a", 0.75)], [other])])
        assert broken(found, rows) == ["an imported learner answers as the exported version"]

    def test_an_import_that_was_refused_is_noticed(self, rows: Rows) -> None:
        log = done()
        log.operations[2] = operation(
            "import", "fail", refusal="learner-exists", name="imported-1", version=2
        )
        assert broken(log, rows) == ["an operation is refused only for what has happened"]


class TestPowerCut:
    @pytest.fixture
    def cut(self) -> Cut:
        return Cut(Path("1"), T0, [ClientRecord(), ClientRecord()], done().operations[:3], [])

    def broken(self, cut: Cut, rows: Rows, kept: StoredFeedback = KEPT) -> list[str]:
        no_artifacts = replace(rows, versions=[])
        blobs = LocalBlobStore(Path("nowhere"))
        return [
            v.name
            for v in judge_rows(cut, no_artifacts, kept, StoredJobs(), blobs)
            if not v.is_kept
        ]

    def test_a_copy_that_has_everything_is_fine(self, cut: Cut, rows: Rows) -> None:
        assert self.broken(cut, rows) == []

    def test_lost_operations_are_noticed(self, cut: Cut, rows: Rows) -> None:
        there = ["acknowledged operations are there"]
        assert self.broken(cut, rows, StoredFeedback()) == there
        assert self.broken(cut, replace(rows, learners=rows.learners[:1])) == there
        assert self.broken(cut, replace(rows, tasks=rows.tasks[:2])) == there

    def test_a_lost_upload_is_noticed(self, cut: Cut, rows: Rows) -> None:
        upload = Upload("key-9", "operated", ["z"], [], {}, outcome="ok", task_ids={"t9"})
        lost = replace(cut, records=[ClientRecord([upload]), ClientRecord()])
        assert "acknowledged uploads are there, with every image" in self.broken(lost, rows)

    def test_an_upload_in_the_air_counts_as_unknown(self) -> None:
        ids: set[str] = set()
        upload = Upload("k", "l", ["a"], [], {}, task_ids=ids)
        answered = replace(upload, task_ids={"t1"})
        taken = acknowledged(ClientRecord([upload, answered]))
        ids.add("t2")
        assert [(one.outcome, one.task_ids) for one in taken.uploads] == [
            ("unknown", set()),
            ("ok", {"t1"}),
        ]


class TestSchedule:
    @pytest.mark.parametrize("name", sorted(PROFILES))
    def test_every_profile_has_every_kind_of_fault(self, name: str) -> None:
        verbs = {fault.verb for fault in make_schedule(PROFILES[name], find_places(ROOT), 1)}
        assert {"kill_workers", "freeze_postgres", "power_cut"} <= verbs

    @pytest.mark.parametrize("seed", range(5))
    def test_rare_faults_come_in_the_first_half(self, seed: int) -> None:
        faults = make_schedule(PROFILES["quick"], find_places(ROOT), seed)
        verbs = [fault.verb for fault in faults]
        late = verbs[len(verbs) // 2 + 2 :]
        assert not {"kill_workers", "power_cut"} & set(late)

    def test_what_is_frozen_outlasts_a_lease(self) -> None:
        assert FREEZE_S > LEASE_S


def test_a_process_that_was_stopped_is_seen_to_stand_still(program: Program) -> None:
    lifetime = program.current
    assert lifetime is not None
    assert not is_frozen(lifetime.pid)
    os.kill(lifetime.pid, signal.SIGSTOP)
    wait_until(lambda: is_frozen(lifetime.pid))
    os.kill(lifetime.pid, signal.SIGCONT)
    wait_until(lambda: not is_frozen(lifetime.pid))


def test_what_was_unlearned_is_not_missed_of_an_upload(rows: Rows) -> None:
    assert rows.unlearned() == {"c"}
    assert checker.check_tasks(rows.named("operated"))[1].is_kept
    rows.tasks[2].status = "failed"
    assert rows.unlearned() == set()
