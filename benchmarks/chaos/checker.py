"""Judges a run by what is left of it: the history of the clients, the rows, the files, the logs and the processes."""

import hashlib
import io
import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image
from sqlalchemy import select
from sqlalchemy.orm import Session

from benchmarks.chaos.clients import ClientRecord, Upload
from benchmarks.chaos.history import History
from benchmarks.verdicts import Verdict
from models import artifact
from models.backbone import load_backbone
from models.errors import LearnerError
from registry.blobs.store import BlobStore
from registry.errors import RegistryError
from registry.learners import LIVE
from registry.statuses import TaskStatus
from registry.tables import (
    CONSOLIDATE,
    IMPORTED,
    AliasRow,
    EventRow,
    LearnerRow,
    SampleRow,
    TaskRow,
    VersionRow,
)
from registry.unlearning import MODE
from registry.versions import address_of

ENDS = frozenset({TaskStatus.SUCCEEDED, TaskStatus.FAILED})
MORE_ENDS = frozenset({TaskStatus.DECLINED, TaskStatus.CANCELLED})
"""Of consolidations: nobody waits for one, so it may come to nothing, and the run may cancel it."""
ASKED = ("try", "read", "operate", "ask", "look", "export")
"""Entries of a history that tell of an answer."""
ACKNOWLEDGED = ("/v1/tasks/", "/v1/prediction-jobs/")
"""Beginnings of paths that are read only of what has been acknowledged."""


@dataclass(frozen=True)
class Rows:
    """What the database holds at the end."""

    learners: list[LearnerRow]
    tasks: list[TaskRow]
    samples: dict[str, list[SampleRow]]
    """By task."""
    versions: list[VersionRow]
    live: dict[str, int]
    """Version that the alias points to, by learner id."""
    starts: dict[str, list[float]]
    """When attempts at a task started, in seconds since 1970."""

    def only(self, learner_ids: Collection[str]) -> "Rows":
        """Return those of some learners."""
        return replace(
            self,
            learners=[learner for learner in self.learners if learner.id in learner_ids],
            tasks=[task for task in self.tasks if task.learner_id in learner_ids],
            versions=[version for version in self.versions if version.learner_id in learner_ids],
        )

    def named(self, *names: str) -> "Rows":
        """Return those of learners of some names."""
        return self.only([learner.id for learner in self.learners if learner.name in names])

    def unlearned(self) -> set[str]:
        """Return the classes that were taken out again."""
        done = [t for t in self.tasks if t.mode == MODE and t.status == TaskStatus.SUCCEEDED]
        return {label for task in done for label in task.classes}

    def versions_of(self, learner_id: str) -> list[VersionRow]:
        """Return a learner's versions in order."""
        versions = [version for version in self.versions if version.learner_id == learner_id]
        return sorted(versions, key=lambda version: version.number)


def read_rows(session: Session) -> Rows:
    """Read everything that is judged."""
    samples: dict[str, list[SampleRow]] = defaultdict(list)
    for sample in session.scalars(select(SampleRow)):
        samples[sample.task_id].append(sample)
    starts: dict[str, list[float]] = defaultdict(list)
    started = select(EventRow).where(EventRow.type == "started").order_by(EventRow.seq)
    for event in session.scalars(started):
        starts[event.task_id].append(event.created_at.timestamp())
    aliases = session.scalars(select(AliasRow).where(AliasRow.name == LIVE))
    return Rows(
        learners=list(session.scalars(select(LearnerRow))),
        tasks=list(session.scalars(select(TaskRow).order_by(TaskRow.created_at))),
        samples=samples,
        versions=list(session.scalars(select(VersionRow))),
        live={alias.learner_id: alias.version for alias in aliases},
        starts=starts,
    )


def check_uploads(rows: Rows, record: ClientRecord, blobs: BlobStore) -> list[Verdict]:
    """Check that acknowledged uploads are there whole, unanswered ones whole or not at all, and none is there twice.

    What was unlearned since is missed by nobody.
    """
    by_key: dict[str | None, list[TaskRow]] = defaultdict(list)
    for task in rows.tasks:
        if task.mode not in (MODE, CONSOLIDATE):
            by_key[task.name].append(task)
    gone = rows.unlearned()
    n_acknowledged = sum(upload.outcome == "ok" for upload in record.uploads)
    lost = Verdict("acknowledged uploads are there, with every image", n_acknowledged)
    n_others = len(record.uploads) - n_acknowledged
    partial = Verdict("unanswered uploads are there wholly or not at all", n_others)
    twice = Verdict("one task an idempotency key", len(record.uploads))
    refused = Verdict("no upload is refused", len(record.uploads))
    for upload in record.uploads:
        rows_of_upload = by_key.pop(upload.key, [])
        ids = [task.id for task in rows_of_upload]
        if len(ids) > 1 or len(upload.task_ids) > 1:
            twice.violations.append(f"{upload.key}: rows {ids}, answers {upload.task_ids}")
        if upload.refusals:
            refused.violations.append(f"{upload.key}: {sorted(upload.refusals)}")
        verdict = lost if upload.outcome == "ok" else partial
        if upload.outcome == "ok" and ids != sorted(upload.task_ids):
            verdict.violations.append(f"{upload.key}: answers {upload.task_ids}, rows {ids}")
        for task in rows_of_upload:
            verdict.violations += _damages(upload, task, rows.samples[task.id], blobs, gone)
    twice.violations += [f"{name}: nobody's" for name in by_key]
    return [lost, partial, twice, refused]


def _damages(
    upload: Upload,
    task: TaskRow,
    samples: Iterable[SampleRow],
    blobs: BlobStore,
    gone: Collection[str],
) -> list[str]:
    """Say what a task lacks of what was uploaded: rows, blobs, pixels."""
    if sorted(task.classes) != sorted(upload.classes):
        return [f"{upload.key}: classes {task.classes}"]
    try:
        kept = Counter((s.label, _pixels(blobs.get(s.blob_sha256))) for s in samples)
    except RegistryError as error:
        return [f"{upload.key}: {error}"]
    sent = Counter((label, _pixels(data)) for label, data in upload.files if label not in gone)
    return [] if kept == sent else [f"{upload.key}: {sum((sent - kept).values())} images missing"]


def _pixels(data: bytes) -> str:
    with Image.open(io.BytesIO(data)) as image:
        return hashlib.sha256(image.convert("RGB").tobytes()).hexdigest()


def check_tasks(rows: Rows) -> list[Verdict]:
    """Check that every task has ended, in exactly one version or one explained failure, and versions have no gaps.

    A consolidation is one of them, which may also be declined with a reason, or cancelled.
    """
    ended = Verdict("every task has ended", len(rows.tasks))
    one = Verdict("a task ends in exactly one version or one explained failure", len(rows.tasks))
    by_task = Counter(version.task_id for version in rows.versions)
    for task in rows.tasks:
        if task.status not in (ENDS | MORE_ENDS if task.mode == CONSOLIDATE else ENDS):
            ended.violations.append(f"{task.id} is {task.status}, attempt {task.attempt}")
            continue
        expected = int(task.status == TaskStatus.SUCCEEDED)
        is_explained = _is_explained(task)
        if by_task[task.id] != expected or (expected == 0) != is_explained:
            one.violations.append(
                f"{task.id} is {task.status}, versions {by_task[task.id]}, {task.error}"
            )
    gapless = Verdict("versions have no gaps, each builds on the one before", len(rows.versions))
    alias = Verdict("the alias and the head are the newest version", len(rows.learners))
    for learner in rows.learners:
        own = rows.versions_of(learner.id)
        if [v.number for v in own] != list(range(1, len(own) + 1)) or any(
            (v.parent or 0) != v.number - 1 for v in own
        ):
            gapless.violations.append(f"{learner.name}: {[(v.number, v.parent) for v in own]}")
        if own and not rows.live.get(learner.id) == learner.head_version == own[-1].number:
            alias.violations.append(
                f"{learner.name}: alias {rows.live.get(learner.id)}, head {learner.head_version}, "
                f"newest {own[-1].number}"
            )
    return [ended, one, gapless, alias]


def _is_explained(task: TaskRow) -> bool:
    """Whether the row says why there is no version."""
    if task.status == TaskStatus.DECLINED:
        return bool(task.result and task.result["reason"])
    has_error = bool(task.error and task.error["code"] and task.error["detail"])
    return has_error or task.status == TaskStatus.CANCELLED


def check_artifacts(rows: Rows, blobs: BlobStore) -> Verdict:
    """Load every version as the service would, and check that it knows just what it should."""
    verdict = Verdict("every artifact is complete and loads", len(rows.versions))
    backbone = load_backbone("tiny")
    tasks = {task.id: task for task in rows.tasks}
    for learner in rows.learners:
        known: list[str] = []
        for version in rows.versions_of(learner.id):
            known = _known_after(known, tasks[version.task_id], version)
            if version.manifest_sha256 is None:
                continue
            try:
                strategy = artifact.load(blobs.get(address_of(version)), blobs.get, backbone)
            except (RegistryError, LearnerError) as error:
                verdict.violations.append(f"{learner.name} {version.number}: {error}")
                continue
            if not sorted(known) == sorted(strategy.classes_) == sorted(version.classes):
                verdict.violations.append(f"{learner.name} {version.number}: wrong classes")
    return verdict


def _known_after(known: list[str], task: TaskRow, version: VersionRow) -> list[str]:
    """Return the classes that a learner knows with a version, by the tasks that led there."""
    if task.mode == IMPORTED:
        return list(version.classes)
    if task.mode == CONSOLIDATE:
        return known
    if task.mode == MODE:
        return [label for label in known if label not in task.classes]
    return known + [label for label in task.classes if label not in known]


def count_unreferenced(
    rows: Rows, root: Path, blobs: BlobStore, others: Collection[str]
) -> dict[str, int]:
    """Count files that no row, nor anything else, names: what killed writers leave behind."""
    named = {*others}
    named |= {sample.blob_sha256 for own in rows.samples.values() for sample in own}
    named |= {task.checkpoint for task in rows.tasks if task.checkpoint}
    for version in rows.versions:
        if version.manifest_sha256 is None:
            continue
        named.add(address_of(version))
        named |= set(_files(blobs.get(address_of(version))))
    stored = {f.parent.name + f.name for f in (root / "sha256").glob("*/*") if f.is_file()}
    temporary = [file for file in root.rglob("*") if file.is_file() and "sha256" not in file.parts]
    return {
        "blobs": len(stored),
        "missing": len(named - stored),
        "unreferenced": len(stored - named),
        "temporary": len(temporary),
    }


def _files(manifest: bytes) -> list[str]:
    listed: dict[str, Any] = json.loads(manifest)["files"]
    return [entry["sha256"] for entry in listed.values()]


def check_answers(history: History) -> list[Verdict]:
    """Check that nobody got a 500, and that nothing acknowledged was ever unknown to an api."""
    statuses = [(a.learner, a.status) for a in history.answers]
    statuses += [
        (entry.id, entry.details.get("status")) for entry in history.entries if entry.op in ASKED
    ]
    internal = Verdict("no answer is a 500", len(statuses))
    internal.violations += [f"{what}: {status}" for what, status in statuses if status == 500]
    reads = [
        entry
        for entry in history.entries
        if entry.op in ("read", "look") and entry.id.startswith(ACKNOWLEDGED)
    ]
    forgotten = Verdict("no acknowledged task or prediction job is unknown to an api", len(reads))
    forgotten.violations += [
        f"{entry.id} at {entry.details.get('api')}"
        for entry in reads
        if entry.details.get("status") == 404
    ]
    return [internal, forgotten]


def check_doctor(output: str, errors: str) -> Verdict:
    """Check that `filopodia doctor` finds nothing broken either."""
    try:
        checks = json.loads(output)["checks"]
    except (ValueError, KeyError):
        return Verdict("doctor finds nothing broken", 0, [f"{output[-200:]} {errors[-500:]}"])
    verdict = Verdict("doctor finds nothing broken", len(checks))
    verdict.violations += [str(check) for check in checks if check["state"] == "fail"]
    return verdict


def check_log(name: str, file: Path, listed: Sequence[str]) -> Verdict:
    """Check that a program's log has no traceback but those that hold one of the `listed` parts."""
    traces = tracebacks(file.read_text(errors="replace").splitlines())
    unlisted = Counter(text[-300:] for text in traces if not any(part in text for part in listed))
    verdict = Verdict(f"the log of {name} has no unexpected traceback", len(traces))
    verdict.violations += [f"{n} x {text}" for text, n in unlisted.most_common()]
    return verdict


def tracebacks(lines: list[str]) -> list[str]:
    """Return the exceptions that a log tells of, one line each: `event: type: text`, or the last of a printed one."""
    traces: list[str] = []
    for i, line in enumerate(lines):
        if line.startswith("{") and '"exception"' in line:
            traces.append(_logged(line))
        elif line.startswith("Traceback (most recent call last)"):
            rest = lines[i + 1 : i + 200]
            traces.append(next((text for text in rest if text and not text.startswith(" ")), line))
    return traces


def _logged(line: str) -> str:
    try:
        entry = json.loads(line)
    except ValueError:
        return line
    raised = entry.get("exception")
    if not isinstance(raised, list):
        return f"{entry.get('event')}: {raised}"
    chain = " from ".join(f"{one.get('exc_type')}: {one.get('exc_value')}" for one in raised)
    return f"{entry.get('event')}: {chain}"
