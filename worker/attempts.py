"""One attempt at a task: learn it, unlearn or correct what it names, or consolidate; evaluate all, publish.

Training leaves checkpoints, and goes on from the last one that an earlier attempt left.
"""

import threading
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import structlog

from models import artifact
from models.backbone import Backbone
from models.errors import StoppedError
from models.evaluation import with_cross_validation
from models.progress import Progress
from models.screening import Finding
from models.strategies.base import Strategy
from models.strategies.values import Task
from registry import held_out, queue, samples
from registry.blobs.store import BlobStore
from registry.errors import DatabaseUnavailableError, FencedError
from registry.failpoints import failpoint
from registry.postgres.database import Sessions
from registry.versions import NewVersion
from worker import priority
from worker.attempt import Attempt, AttemptContext, code_versions, load_attempt
from worker.consolidate import consolidate, is_consolidation
from worker.correct import correct, held_out_as_corrected, is_correction
from worker.errors import TaskError, TemporaryTaskError
from worker.evaluation import of_known_classes, sorted_out
from worker.failures import sort_error
from worker.held_out import measure_held_out
from worker.progress import ProgressReporter
from worker.publication import HELD, config_of, publish, stage_of
from worker.screening import is_screened, reason_to_hold, screen_result, screen_task
from worker.settings import WorkerSettings
from worker.training import learn, load_task
from worker.transactions import patience, retry_transaction
from worker.unlearn import is_unlearning, unlearn
from worker.warm import Warm

log = structlog.get_logger()

EXIT_SETTLED, EXIT_UNSETTLED = 0, 1


@dataclass(frozen=True)
class Ended:
    """How an attempt has ended, as far as its process is concerned."""

    exit_code: int
    well: bool
    """Whether nothing was out of the ordinary, so that the process is as good as before."""


def run_attempt(
    task_id: str,
    token: int,
    *,
    session_factory: Sessions,
    blobs: BlobStore,
    settings: WorkerSettings,
    stop: threading.Event | None = None,
) -> int:
    """Make one attempt, with nothing loaded before, and return the exit code: see `make_attempt`."""
    context = AttemptContext(
        session_factory, blobs, settings, stop or threading.Event(), Warm(settings)
    )
    return make_attempt(task_id, token, context).exit_code


def make_attempt(task_id: str, token: int, context: AttemptContext) -> Ended:
    """Learn a claimed task and record how it ended.

    Safe to run twice: artifacts are content-addressed, and only the current token can publish.

    Returns:
        With `EXIT_SETTLED`, or with `EXIT_UNSETTLED` if the attempt was stopped, is no longer current, or the end could
        not be recorded.
    """
    try:
        try:
            learn_task(task_id, token, context)
        except StoppedError:
            log.info("attempt_stopped")
            return Ended(EXIT_UNSETTLED, well=False)
        except Exception as error:  # noqa: BLE001 (the one place where every failure is sorted)
            _record(sort_error(error), task_id, token, context.session_factory)
            return Ended(EXIT_SETTLED, well=False)
    except (FencedError, DatabaseUnavailableError) as error:
        log.warning("attempt_unsettled", reason=str(error))
        return Ended(EXIT_UNSETTLED, well=False)
    return Ended(EXIT_SETTLED, well=True)


def learn_task(task_id: str, token: int, context: AttemptContext) -> None:
    """Learn a task and publish it; hold it if its images look poisoned, or it broke `max_forgetting`.

    Takes as long as learning does. A consolidation is declined where a task would be held.
    """
    progress = ProgressReporter(
        context.session_factory,
        task_id,
        token,
        interval_s=context.settings.progress_s,
        stop=context.stop,
    )
    progress.enter("preparing")
    with context.session_factory() as session:
        attempt = load_attempt(session, task_id, token)
    backbone = context.warm.backbone(attempt.learner.backbone)
    task: Task | None = None
    findings: list[Finding] = []
    if not (is_unlearning(attempt) or is_correction(attempt) or is_consolidation(attempt)):
        task = load_task(attempt, context.blobs, backbone, progress)
        failpoint("learn.loaded")
        findings, task = _screen(attempt, task, backbone, context)
        if reason := reason_to_hold(attempt, findings):
            _hold_unlearned(attempt, reason, context)
            return
    learned = _learn_or_unlearn(attempt, task, backbone, context, progress)
    failpoint("learn.learned")
    if learned is not None:
        _measure_and_publish(attempt, *learned, task, findings, context, progress)


def _measure_and_publish(
    attempt: Attempt,
    strategy: Strategy[Any],
    report: dict[str, Any],
    task: Task | None,
    findings: list[Finding],
    context: AttemptContext,
    progress: ProgressReporter,
) -> None:
    """Measure what the learner knows now on the images of every task, and publish it with the report."""
    session_factory, blobs = context.session_factory, context.blobs
    progress.enter("evaluating")
    rows = retry_transaction(
        session_factory,
        lambda session: samples.eval_samples_by_task(
            session, attempt.learner.id, strategy.task_indexes_
        ),
        may_go_on=patience(context.stop),
    )
    if is_correction(attempt):
        rows = held_out_as_corrected(attempt, rows, session_factory)
    rows = of_known_classes(rows, strategy.classes_)
    kept = retry_transaction(
        session_factory,
        lambda session: held_out.kept(session, attempt.learner.id, list(rows)),
        may_go_on=patience(context.stop),
    )
    found = measure_held_out(
        strategy,
        rows,
        kept,
        task,
        blobs,
        lambda fraction: progress.report(Progress("evaluating", fraction)),
    )
    measured, counts = sorted_out(with_cross_validation(strategy, found.cells))
    if is_screened(attempt):
        findings += screen_result(
            attempt, strategy, counts["confusion"], session_factory=session_factory
        )
        _note(attempt, findings, context)
    failpoint("learn.evaluated")

    progress.enter("publishing")
    pack = partial(artifact.pack, strategy, seed=attempt.task.seed, code_versions=code_versions())
    packed = pack(before=context.warm.packed(attempt.parent_manifest_sha256))
    stored = [*found.features.values(), *packed.files.values(), packed.manifest]
    hashes = blobs.put_many(stored)
    manifest_sha256 = hashes[-1]
    features = dict(zip(found.features, hashes, strict=False))

    def keep() -> None:
        if blobs.missing([*hashes, *packed.known]):
            blobs.put_many([*stored, *pack().files.values()])

    failpoint("publish.after_blobs")
    new_version = NewVersion(
        parent=attempt.learner.head_version,
        task_index=attempt.task.index,
        config=config_of(attempt, strategy),
        seed=attempt.task.seed,
        backbone_fingerprint=strategy.backbone.fingerprint,
        manifest_sha256=manifest_sha256,
        size_bytes=packed.size_bytes,
        classes=list(strategy.classes_),
        metrics={**report, "seconds": progress.seconds, **counts},
        code_versions=code_versions(),
        accuracies=measured,
        tasks=list(strategy.task_indexes_),
        stage=stage_of(attempt, strategy),
        unconsolidated=list(strategy.unconsolidated_),
        result=report.get("consolidation"),
    )
    with priority.forward():  # others wait while it holds the learner's lock
        outcome = retry_transaction(
            session_factory,
            lambda session: publish(
                session, attempt, new_version, findings, keep, features, context.settings.schedule
            ),
            may_go_on=patience(context.stop),
        )
    failpoint("publish.after_commit")
    # Of what was unlearned nothing is to be left, in no corner of memory: that is loaded when it is asked for.
    if outcome != HELD and not is_unlearning(attempt):
        context.warm.keep(manifest_sha256, strategy, packed.size_bytes, packed.packed)
    log.info("attempt_ended", outcome=outcome)


def _record(error: Exception, task_id: str, token: int, session_factory: Sessions) -> None:
    if not isinstance(error, TaskError):
        raise error
    log.warning("attempt_ended", code=error.code, detail=error.detail)
    with session_factory.begin() as session:
        if isinstance(error, TemporaryTaskError):
            queue.requeue_task(session, task_id, token, error.code, error.detail)
        else:
            queue.fail_task(session, task_id, token, error.code, error.detail)


def _learn_or_unlearn(
    attempt: Attempt,
    task: Task | None,
    backbone: Backbone,
    context: AttemptContext,
    progress: ProgressReporter,
) -> tuple[Strategy[Any], dict[str, Any]] | None:
    """Learn the task's images, or consolidate, correct or unlearn if it has none.

    Returns:
        What the learner knows now, and a report as JSON; None if that is what it knew before, and the row says why.
    """
    if is_consolidation(attempt):
        return consolidate(attempt, backbone, context, progress)
    if is_correction(attempt):
        strategy, done = correct(attempt, backbone, context, progress)
        return strategy, {"correction": done}
    if task is None:
        context.warm.forget_learner()  # some of it is to be unlearned
        strategy, done = unlearn(
            attempt,
            backbone,
            session_factory=context.session_factory,
            blobs=context.blobs,
            progress=progress,
        )
        return strategy, {"unlearning": done}
    strategy, report = learn(attempt, task, backbone, context, progress)
    return strategy, {"learning": asdict(report)}


def _screen(
    attempt: Attempt, task: Task, backbone: Backbone, context: AttemptContext
) -> tuple[list[Finding], Task]:
    """Return what looks wrong with a task's images, and the task, with what was seen of them."""
    if not is_screened(attempt):
        return [], task
    findings, task = screen_task(attempt, task, backbone, context)
    _note(attempt, findings, context)
    return findings, task


def _hold_unlearned(attempt: Attempt, reason: str, context: AttemptContext) -> None:
    """Hold the task as it is, before anything is learned."""
    retry_transaction(
        context.session_factory,
        lambda session: queue.hold_unlearned(session, attempt.task.id, attempt.token, reason),
        may_go_on=patience(context.stop),
    )
    log.info("attempt_ended", outcome="held before learning")


def _note(attempt: Attempt, findings: list[Finding], context: AttemptContext) -> None:
    # A transaction of its own: publishing locks the learner first, and this the task.
    notes = [finding.as_json() for finding in findings]
    retry_transaction(
        context.session_factory,
        lambda session: queue.note_findings(session, attempt.task.id, attempt.token, notes),
        may_go_on=patience(context.stop),
    )
