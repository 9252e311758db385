"""Prediction jobs as clients read them: how one stands, what its images came to, and both written out."""

import csv
import json
from collections.abc import Iterator, Mapping
from io import StringIO
from time import monotonic
from typing import Any

import anyio
from fastapi import Request
from starlette.concurrency import run_in_threadpool

from registry import classes, learners, prediction_jobs
from registry.classes import Shown
from registry.postgres.database import Session, Sessions
from registry.statuses import UNFINISHED
from registry.tables import PredictionJobImageRow, PredictionJobRow
from service.dependencies import AppContext
from service.inference.answers import named
from service.layout.cells import inert
from service.schemas.prediction_jobs import (
    AnsweredBefore,
    JobError,
    JobImages,
    JobResult,
    LabelCount,
    PredictionJobRead,
)

POLL_S = 0.25
PAGE = 500
"""Results read at once."""
CSV_COLUMNS = (
    "index",
    "name",
    "label",
    "score",
    "known",
    "novelty",
    "second_label",
    "second_score",
    "version",
    "before_label",
    "before_score",
    "before_known",
    "before_version",
    "changed",
    "problem",
)


def read_job(
    session: Session, job: PredictionJobRow, learner_name: str | None = None
) -> PredictionJobRead:
    """Return what a job reads like."""
    if learner_name is None:
        learner_name = learners.get_learner_by_id(session, job.learner_id).name
    shown = classes.shown(session, job.learner_id)
    counts = prediction_jobs.count_labels(session, job.id) if job.n_done else {}
    return PredictionJobRead(
        id=job.id,
        learner=learner_name,
        version=job.version,
        source=job.source,  # type: ignore[arg-type]  # the database checks it
        query=job.query,
        status=job.status,  # type: ignore[arg-type]  # likewise
        images=JobImages(
            total=job.n_images,
            done=job.n_done,
            problems=job.n_problems,
            unknown=job.n_unknown,
            changed=job.n_changed,
        ),
        labels=[LabelCount(label=shown.name(label), images=n) for label, n in counts.items()],
        eta_seconds=_eta_s(job),
        error=None if job.error is None else JobError.model_validate(job.error),
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
    )


def _eta_s(job: PredictionJobRow) -> float | None:
    if job.status not in UNFINISHED or job.started_at is None or job.served_at is None:
        return None
    seconds = (job.served_at - job.started_at).total_seconds()
    return round(seconds / max(1, job.n_done) * (job.n_images - job.n_done), 1)


def find_job(sessions: Sessions, job_id: str) -> PredictionJobRead:
    """Read one job.

    Raises:
        PredictionJobNotFoundError: If there is none.
    """
    with sessions() as session:
        return read_job(session, prediction_jobs.get_job(session, job_id))


async def wait_for_job(
    request: Request, context: AppContext, job_id: str, wait_s: float
) -> PredictionJobRead:
    """Return a job once it has ended, or as it is when the time is over.

    Raises:
        PredictionJobNotFoundError: If there is none.
    """
    deadline = monotonic() + wait_s
    while True:
        moves = await run_in_threadpool(_moves, context.session_factory, job_id)
        left_s = deadline - monotonic()
        is_over = not moves or context.stopping.is_set() or left_s <= 0
        if is_over or await request.is_disconnected():
            return await run_in_threadpool(find_job, context.session_factory, job_id)
        await anyio.sleep(min(POLL_S, left_s))


def _moves(sessions: Sessions, job_id: str) -> bool:
    """Return whether a job waits or runs. Its answers are not counted for that: there may be very many."""
    with sessions() as session:
        return prediction_jobs.get_job(session, job_id).status in UNFINISHED


def result_of(image: PredictionJobImageRow, shown: Shown) -> JobResult:
    """Return what an image of a job reads like, with classes called as they are called now."""
    result = named([dict(image.result or {})], shown)[0]
    before = None
    if image.before is not None:
        before = AnsweredBefore.model_validate(image.before)
        if before.label is not None:
            before.label = shown.name(before.label)
    return JobResult(
        index=image.index,
        name=image.name,
        prediction=image.prediction_id,
        prediction_index=image.prediction_index,
        sample=image.sample_id,
        before=before,
        changed=image.is_changed,
        **result,
    )


def as_jsonl(
    context: AppContext, job: PredictionJobRead, filters: Mapping[str, Any]
) -> Iterator[str]:
    """Yield the results of a job, one line of JSON an image."""
    for result in _all(context, job, filters):
        yield (
            json.dumps(result.model_dump(mode="json", exclude_none=True), ensure_ascii=False) + "\n"
        )


def as_csv(
    context: AppContext, job: PredictionJobRead, filters: Mapping[str, Any]
) -> Iterator[str]:
    """Yield the results of a job as CSV, one line an image. No text is a formula."""
    yield _line(CSV_COLUMNS)
    for result in _all(context, job, filters):
        second = result.top[1] if len(result.top) > 1 else None
        before = result.before or AnsweredBefore()
        yield _line(
            (
                result.index,
                inert(result.name),
                result.label and inert(result.label),
                result.score,
                _word(result.known),
                result.novelty,
                second and inert(second.label),
                second and second.score,
                job.version if result.label is not None else None,
                before.label and inert(before.label),
                before.score,
                _word(before.known),
                before.version,
                _word(result.changed),
                result.problem and result.problem.code,
            )
        )


def _all(
    context: AppContext, job: PredictionJobRead, filters: Mapping[str, Any]
) -> Iterator[JobResult]:
    """Yield the results of a job. Between two pages no connection is held: whoever reads may be slow."""
    cursor: str | None = None
    while True:
        with context.session_factory() as session:
            row = prediction_jobs.get_job(session, job.id)
            shown = classes.shown(session, row.learner_id)
            page = prediction_jobs.list_images(
                session, job.id, **filters, limit=PAGE, cursor=cursor
            )
            results = [result_of(image, shown) for image in page.items]
        yield from results
        cursor = page.next_cursor
        if cursor is None:
            return


def _line(cells: tuple[Any, ...]) -> str:
    out = StringIO()
    csv.writer(out).writerow(["" if cell is None else cell for cell in cells])
    return out.getvalue()


def _word(value: bool | None) -> str | None:
    return None if value is None else str(value).lower()
