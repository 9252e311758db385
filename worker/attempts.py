"""One attempt at a task: learn it, unlearn what it names, or consolidate; evaluate all, keep the artifact, publish.

Training leaves checkpoints, and goes on from the last one that an earlier attempt left.
"""

import threading
from dataclasses import asdict
from typing import Any

import structlog
import torch

from models import artifact
from models.backbone import Backbone, choose_device, load_backbone
from models.errors import StoppedError
from models.screening import Finding
from models.strategies.base import Strategy
from models.strategies.values import Task
from registry import queue, samples
from registry.blobs.store import BlobStore
from registry.errors import DatabaseUnavailableError, FencedError
from registry.failpoints import failpoint
from registry.postgres.database import Sessions
from registry.versions import NewVersion
from worker import priority
from worker.attempt import Attempt, AttemptContext, code_versions, load_attempt
from worker.consolidate import consolidate, is_consolidation
from worker.errors import TaskError, TemporaryTaskError
from worker.evaluation import evaluate_tasks, of_known_classes
from worker.failures import sort_error
from worker.progress import ProgressReporter
from worker.publication import config_of, publish, stage_of
from worker.screening import is_screened, reason_to_hold, screen_result, screen_task
from worker.settings import WorkerSettings
from worker.training import learn, load_task
from worker.transactions import patience, retry_transaction
from worker.unlearn import is_unlearning, unlearn

log = structlog.get_logger()

EXIT_SETTLED, EXIT_UNSETTLED = 0, 1


def run_attempt(
    task_id: str,
    token: int,
    *,
    session_factory: Sessions,
    blobs: BlobStore,
    settings: WorkerSettings,
    stop: threading.Event | None = None,
) -> int:
    """Learn a claimed task and record how it ended.

    Safe to run twice: artifacts are content-addressed, and only the current token can publish.

    Args:
        task_id: The task.
        token: Of this attempt.
        session_factory: Sessions on the registry.
        blobs: Where images, artifacts and checkpoints lie.
        settings: Of this worker.
        stop: Set when the attempt is to write a checkpoint and end.

    Returns:
        `EXIT_SETTLED`, or `EXIT_UNSETTLED` if the attempt was stopped, is no longer current, or the end could not be
        recorded.
    """
    context = AttemptContext(session_factory, blobs, settings, stop or threading.Event())
    try:
        try:
            learn_task(task_id, token, context)
        except StoppedError:
            log.info("attempt_stopped")
            return EXIT_UNSETTLED
        except Exception as error:  # noqa: BLE001 (the one place where every failure is sorted)
            _record(sort_error(error), task_id, token, session_factory)
    except (FencedError, DatabaseUnavailableError) as error:
        log.warning("attempt_unsettled", reason=str(error))
        return EXIT_UNSETTLED
    return EXIT_SETTLED


def learn_task(task_id: str, token: int, context: AttemptContext) -> None:
    """Learn a task and publish it; hold it if its images look poisoned, or it broke `max_forgetting`.

    Takes as long as learning does. A consolidation is declined where a task would be held.
    """
    session_factory, blobs = context.session_factory, context.blobs
    progress = ProgressReporter(
        session_factory,
        task_id,
        token,
        interval_s=context.settings.progress_s,
        stop=context.stop,
    )
    progress.enter("preparing")
    with session_factory() as session:
        attempt = load_attempt(session, task_id, token)
    backbone = _load_backbone(attempt.learner.backbone, context.settings)
    task, findings = None, []
    if not is_unlearning(attempt) and not is_consolidation(attempt):
        task = load_task(attempt, blobs, backbone, progress)
        failpoint("learn.loaded")
        findings = _screen(attempt, task, backbone, context)
        if reason := reason_to_hold(attempt, findings):
            _hold_unlearned(attempt, reason, context)
            return
    learned = _learn_or_unlearn(attempt, task, backbone, context, progress)
    failpoint("learn.learned")
    if learned is None:
        return
    strategy, report = learned

    progress.enter("evaluating")
    held_out = retry_transaction(
        session_factory,
        lambda session: samples.eval_samples_by_task(
            session, attempt.learner.id, strategy.task_indexes_
        ),
        may_go_on=patience(context.stop),
    )
    held_out = of_known_classes(held_out, strategy.classes_)
    measured, counts = evaluate_tasks(strategy, held_out, task, blobs, progress)
    if is_screened(attempt):
        findings += screen_result(
            attempt, strategy, counts["confusion"], session_factory=session_factory
        )
        _note(attempt, findings, context)
    failpoint("learn.evaluated")

    progress.enter("publishing")
    if is_consolidation(attempt):
        priority.step_forward()  # others wait while it holds the learner's lock
    packed = artifact.pack(strategy, seed=attempt.task.seed, code_versions=code_versions())
    stored = [*packed.files.values(), packed.manifest]
    *file_hashes, manifest_sha256 = blobs.put_many(stored)

    def keep() -> None:
        if blobs.missing([*file_hashes, manifest_sha256]):
            blobs.put_many(stored)

    failpoint("publish.after_blobs")
    new_version = NewVersion(
        parent=attempt.learner.head_version,
        task_index=attempt.task.index,
        config=config_of(attempt, strategy),
        seed=attempt.task.seed,
        backbone_fingerprint=backbone.fingerprint,
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
    outcome = retry_transaction(
        session_factory,
        lambda session: publish(
            session, attempt, new_version, findings, keep, context.settings.schedule
        ),
        may_go_on=patience(context.stop),
    )
    failpoint("publish.after_commit")
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


def _load_backbone(name: str, settings: WorkerSettings) -> Backbone:
    if settings.torch_threads is not None:
        torch.set_num_threads(settings.torch_threads)
    device = choose_device(settings.device)
    return load_backbone(name, weights=settings.backbone_weights).to(device)


def _learn_or_unlearn(
    attempt: Attempt,
    task: Task | None,
    backbone: Backbone,
    context: AttemptContext,
    progress: ProgressReporter,
) -> tuple[Strategy[Any], dict[str, Any]] | None:
    """Learn the task's images, or consolidate or unlearn if it has none.

    Returns:
        What the learner knows now, and a report as JSON; None if that is what it knew before, and the row says why.
    """
    if is_consolidation(attempt):
        return consolidate(attempt, backbone, context, progress)
    if task is None:
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
) -> list[Finding]:
    if not is_screened(attempt):
        return []
    findings = screen_task(
        attempt,
        task,
        backbone,
        session_factory=context.session_factory,
        blobs=context.blobs,
    )
    _note(attempt, findings, context)
    return findings


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
