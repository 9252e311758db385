"""Judges prediction jobs: each that was answered with 202 is there once and has ended, each image answered once."""

import math
from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
from sqlalchemy import select
from sqlalchemy.orm import Session

from benchmarks.chaos.checker import Rows
from benchmarks.chaos.insisting import Operation, PredictedLabel
from benchmarks.chaos.jobs import SAMPLES, JobLog, file_name, job_picture
from benchmarks.verdicts import Verdict
from registry.blobs.store import BlobStore
from registry.statuses import ENDED, TaskStatus
from registry.tables import (
    IdempotencyRow,
    PredictionJobImageRow,
    PredictionJobRow,
    SampleRow,
)

EXPLAINED = ("service-lost", "version-erased")
"""Why a job may have failed: it was killed with its service again and again; its version was erased."""
SCORE_TOLERANCE = 1e-4
"""Another batch sums in another order."""
ASKED_AT_ONCE = 16

Picture = int | str
"""A picture that was sent, by its number; a stored one, by its hash."""
Question = tuple[str, int, Picture]
"""Learner, version and picture."""
Shown = Mapping[str, Any] | None


@dataclass(frozen=True)
class StoredJobs:
    """Prediction jobs as the database holds them."""

    jobs: list[PredictionJobRow] = field(default_factory=list)
    images: dict[str, list[PredictionJobImageRow]] = field(default_factory=dict)
    """By job, in order."""
    posted: dict[str, str] = field(default_factory=dict)
    """Which job was answered to an Idempotency-Key."""

    def blobs(self) -> set[str]:
        """Return the blobs of uploaded images."""
        own = (image for images in self.images.values() for image in images)
        return {image.blob_sha256 for image in own if image.blob_sha256 is not None}


def read_jobs(session: Session) -> StoredJobs:
    """Read all of them."""
    images: dict[str, list[PredictionJobImageRow]] = defaultdict(list)
    order = (PredictionJobImageRow.job_id, PredictionJobImageRow.index)
    for image in session.scalars(select(PredictionJobImageRow).order_by(*order)):
        images[image.job_id].append(image)
    answered = select(IdempotencyRow).where(
        IdempotencyRow.scope.endswith("/prediction-jobs"), IdempotencyRow.body.is_not(None)
    )
    return StoredJobs(
        list(session.scalars(select(PredictionJobRow).order_by(PredictionJobRow.created_at))),
        images,
        {row.key: row.body["id"] for row in session.scalars(answered) if row.body is not None},
    )


def check_posts(
    operations: Iterable[Operation], kept: StoredJobs, rows: Rows, blobs: BlobStore
) -> list[Verdict]:
    """Check that acknowledged jobs are there whole, others whole or not at all, and none that nobody posted."""
    listed = list(operations)
    jobs = {job.id: job for job in kept.jobs}
    n_acknowledged = sum(one.outcome == "ok" for one in listed)
    lost = Verdict("acknowledged prediction jobs are there, with every image", n_acknowledged)
    partial = Verdict(
        "unanswered prediction jobs are there wholly or not at all", len(listed) - n_acknowledged
    )
    once = Verdict("one prediction job an idempotency key", len(listed))
    for one in listed:
        job_id = kept.posted.get(one.key)
        if one.outcome == "ok" and one.answer["id"] != job_id:
            lost.violations.append(f"{one.key}: answered {one.answer['id']}, kept {job_id}")
            job_id = one.answer["id"]
        if job_id is None:
            continue
        verdict = lost if one.outcome == "ok" else partial
        job = jobs.pop(job_id, None)
        if job is None:
            verdict.violations.append(f"{one.key}: {job_id} is gone")
        elif one.outcome == "fail":
            verdict.violations.append(f"{one.key}: {job_id}, although refused: {one.refusal}")
        else:
            verdict.violations += _damages(one, job, kept.images.get(job.id, []), rows, blobs)
    once.violations += [f"{job_id}: nobody's" for job_id in jobs]
    return [lost, partial, once]


def _damages(
    one: Operation,
    job: PredictionJobRow,
    images: Sequence[PredictionJobImageRow],
    rows: Rows,
    blobs: BlobStore,
) -> list[str]:
    """Say what a job lacks of what was posted: images in their order, or their blobs."""
    if [image.index for image in images] != list(range(job.n_images)):
        return [f"{job.id}: {len(images)} of {job.n_images} images"]
    if one.what["source"] == SAMPLES:
        return _missed(one, job, images, rows)
    names = [file_name(one.key, index) for index in range(len(one.what["pictures"]))]
    if [image.name for image in images] != names:
        return [f"{job.id}: {len(images)} images of {len(names)} that were sent, or others"]
    named = {image.blob_sha256 for image in images if image.blob_sha256 is not None}
    return [f"{job.id}: blob {sha256} is gone" for sha256 in blobs.missing(named)]


def _missed(
    one: Operation, job: PredictionJobRow, images: Sequence[PredictionJobImageRow], rows: Rows
) -> list[str]:
    """Say which samples a job over all of them lacks that were there, and which are no samples of its learner."""
    own = [task for task in rows.tasks if task.learner_id == job.learner_id]
    taught = {s.id: s for task in own for s in rows.samples.get(task.id, [])}
    surely = {
        sample.id
        for task in own
        if task.finished_at is not None and task.finished_at.timestamp() < one.started
        for sample in rows.samples.get(task.id, [])
        if sample.quarantine is None
    }
    asked = Counter(image.sample_id for image in images)
    wrong = [f"{job.id}: sample {s}, {n} times" for s, n in asked.items() if n > 1]
    wrong += [f"{job.id}: sample {s} is none of its learner" for s in asked if s not in taught]
    wrong += [f"{job.id}: sample {s} was left out" for s in sorted(surely - set(asked))]
    return wrong + [
        f"{job.id} image {image.index}: taught otherwise than {image.before}"
        for image in images
        if image.sample_id in taught
        and (image.before or {}).get("label") != taught[image.sample_id].label
    ]


def check_ends(log: JobLog, kept: StoredJobs) -> list[Verdict]:
    """Check that every job has ended, explained if badly, with one answer an image, and counts and reads that fit."""
    ended = Verdict("every prediction job has ended, explained if it failed", len(kept.jobs))
    ended.violations += [
        f"{job.id} is {job.status}, token {job.token}, {job.error}"
        for job in kept.jobs
        if not _has_ended_well(job)
    ]
    n_images = sum(job.n_images for job in kept.jobs)
    counted = Verdict("an image of a prediction job is answered once, and counted once", n_images)
    for job in kept.jobs:
        counted.violations += _miscounts(job, kept.images.get(job.id, []))
    forward = Verdict("a prediction job only goes forward", len(log.seen))
    forward.violations += _backwards(log, kept)
    same = Verdict("a job posted again is the same job", len(log.repeated))
    same.violations += [f"{k}: {one}, {two}" for k, one, two in log.repeated if one != two]
    refused = Verdict("no prediction job is refused", len(log.operations))
    refused.violations += [
        f"{one.key}: {one.refusal}" for one in log.operations if one.outcome == "fail"
    ]
    return [ended, counted, forward, same, refused]


def _has_ended_well(job: PredictionJobRow) -> bool:
    if job.status == TaskStatus.FAILED:
        error = job.error or {}
        return error.get("code") in EXPLAINED and bool(error.get("detail"))
    return job.status == TaskStatus.SUCCEEDED and job.error is None


def _miscounts(job: PredictionJobRow, images: Sequence[PredictionJobImageRow]) -> list[str]:
    """Say what a job's images and its counts of them disagree in."""
    wrong = []
    for image in images:
        result: Mapping[str, Any] = image.result or {}
        if image.result is None:
            if job.status == TaskStatus.SUCCEEDED:
                wrong.append(f"{job.id} image {image.index}: no answer")
            continue
        columns = (image.label, image.is_known)
        if ("label" in result) == ("problem" in result) or columns != (
            result.get("label"),
            result.get("known"),
        ):
            wrong.append(f"{job.id} image {image.index}: {columns}, {result}")
        if image.is_changed != _is_changed(image.before, result):
            wrong.append(f"{job.id} image {image.index}: changed is {image.is_changed}")
    answered = [image for image in images if image.result is not None]
    counts = {
        "done": (job.n_done, len(answered)),
        "problems": (job.n_problems, sum("problem" in (i.result or {}) for i in answered)),
        "unknown": (job.n_unknown, sum(i.is_known is False for i in answered)),
        "changed": (job.n_changed, sum(i.is_changed is True for i in answered)),
    }
    if job.status == TaskStatus.SUCCEEDED:
        counts["images"] = (job.n_images, job.n_done)
    return wrong + [
        f"{job.id}: {name} {said}, {found} rows"
        for name, (said, found) in counts.items()
        if said != found
    ]


def _is_changed(before: Shown, result: Mapping[str, Any]) -> bool | None:
    """Return whether an answer is another label than that of a sample, which says nothing else."""
    if not before or "label" not in result:
        return None
    return bool(before["label"] != result["label"])


def _backwards(log: JobLog, kept: StoredJobs) -> list[str]:
    jobs = {job.id: job for job in kept.jobs}
    most: dict[str, int] = defaultdict(int)
    wrong = []
    for seen in log.seen:
        if seen.done < most[seen.job_id]:
            wrong.append(f"{seen.job_id}: {seen.done} done after {most[seen.job_id]}")
        most[seen.job_id] = max(most[seen.job_id], seen.done)
        job = jobs.get(seen.job_id)
        if job is not None and seen.status in ENDED:
            last = (seen.status, seen.done)
            if last != (job.status, job.n_done):
                wrong.append(f"{job.id}: read as {last}, kept as {job.status}, {job.n_done}")
    return wrong


def questions(log: JobLog, kept: StoredJobs, rows: Rows) -> set[Question]:
    """Return what must be asked of versions to judge the answers of jobs."""
    return {question for _, question in _answered(log, kept, rows)}


def _answered(
    log: JobLog, kept: StoredJobs, rows: Rows
) -> list[tuple[PredictionJobImageRow, Question]]:
    """Return the images of jobs that have an answer, each with the picture that it was given to."""
    names = {learner.id: learner.name for learner in rows.learners}
    sent = {kept.posted[o.key]: o.what["pictures"] for o in log.operations if o.key in kept.posted}
    stored: dict[str, SampleRow] = {s.id: s for own in rows.samples.values() for s in own}
    found: list[tuple[PredictionJobImageRow, Question]] = []
    for job in kept.jobs:
        for image in kept.images.get(job.id, []):
            if image.result is None:
                continue
            picture: Picture | None = None
            if image.sample_id is not None and image.sample_id in stored:
                picture = stored[image.sample_id].blob_sha256
            elif image.sample_id is None and image.index < len(sent.get(job.id, [])):
                picture = sent[job.id][image.index]
            if picture is not None:
                found.append((image, (names[job.learner_id], job.version, picture)))
    return found


def ask(
    urls: Iterable[str],
    key: str,
    asked: Collection[Question],
    blobs: BlobStore,
    *,
    timeout_s: float,
) -> dict[Question, PredictedLabel]:
    """Ask versions about pictures, a few at a time; what no api answers is left out."""
    by_version: dict[tuple[str, int], list[Question]] = defaultdict(list)
    for question in sorted(asked, key=str):
        by_version[question[:2]].append(question)
    answers: dict[Question, PredictedLabel] = {}
    headers = {"Authorization": f"Bearer {key}"}
    turns = deque(urls)
    with httpx.Client(headers=headers, timeout=timeout_s) as client:
        for (learner, version), own in by_version.items():
            path = f"/v1/learners/{learner}/predictions?version={version}&store=false"
            for start in range(0, len(own), ASKED_AT_ONCE):
                some = own[start : start + ASKED_AT_ONCE]
                files = [
                    ("images", (f"{i}.png", _bytes_of(question[2], blobs), "image/png"))
                    for i, question in enumerate(some)
                ]
                turns.rotate()
                results = _results(client, [url + path for url in turns], files)
                for i, (question, result) in enumerate(zip(some, results, strict=False)):
                    answers[question] = PredictedLabel(i, result.get("label"), result.get("score"))
    return answers


def _results(
    client: httpx.Client, urls: Iterable[str], files: Sequence[Any]
) -> list[dict[str, Any]]:
    """Return what the first api says that answers; nothing if none does."""
    for url in urls:
        with suppress(httpx.HTTPError):
            answer = client.post(url, files=files)
            if answer.status_code == httpx.codes.OK:
                found: list[dict[str, Any]] = answer.json()["results"]
                return found
    return []


def _bytes_of(picture: Picture, blobs: BlobStore) -> bytes:
    return job_picture(picture) if isinstance(picture, int) else blobs.get(picture)


def check_answers(
    log: JobLog, kept: StoredJobs, rows: Rows, expected: Mapping[Question, PredictedLabel]
) -> Verdict:
    """Check that an image of a job was answered as the job's version answers it when it is asked itself."""
    found = _answered(log, kept, rows)
    verdict = Verdict("an image of a prediction job is answered as its version answers", len(found))
    for image, question in found:
        said = expected.get(question)
        result: Mapping[str, Any] = image.result or {}
        if said is None:
            verdict.violations.append(f"{question}: no answer to compare with")
        elif result.get("label") != said.label or not math.isclose(
            result.get("score") or 0.0, said.score or 0.0, abs_tol=SCORE_TOLERANCE
        ):
            answer = f"{result.get('label')} {result.get('score')} {result.get('problem')}"
            verdict.violations.append(
                f"{image.job_id} image {image.index}: {answer}; {question}: {said.label} {said.score}"
            )
    return verdict
