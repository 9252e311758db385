"""The learn process: `python -m worker.learn TASK TOKEN`. One attempt at one task, in a process of its own.

Load the learner's head, learn the task or unlearn what it names, evaluate every task so far, keep the artifact, publish
in one transaction. Exit code 0 says that the row tells how it ended; any other leaves that to the supervisor.

Training leaves checkpoints, and goes on from the last one that an earlier attempt left. `SIGTERM` asks for one more and
the end.
"""

import argparse
import os
import signal
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, replace
from typing import Any

import structlog
import torch

from models import artifact
from models.backbone import Backbone, choose_device, load_backbone
from models.checkpoint import SectionedCheckpoints, Snapshot
from models.errors import CheckpointError, StoppedError
from models.evaluation import TaskAccuracy, with_cross_validation
from models.progress import Progress
from models.screening import Finding
from models.strategies.base import Strategy
from models.strategies.catalog import create_strategy
from models.strategies.spelling import spelled_like
from models.strategies.values import LearningReport, Task
from registry import accuracy, held_out, queue, samples, versions
from registry.blobs.opening import open_blob_store
from registry.blobs.store import BlobStore
from registry.errors import DatabaseUnavailableError, FencedError
from registry.failpoints import failpoint
from registry.logs import configure_logging
from registry.postgres.database import Session, Sessions, make_engine, make_session_factory
from registry.postgres.lifeline import die_with_parent
from registry.streams import settle
from registry.tables import SampleRow
from registry.versions import NewAccuracy, NewVersion
from worker.attempt import Attempt, code_versions, identity, load_attempt
from worker.checkpoints import CheckpointKeeper, read_checkpoint
from worker.errors import TaskError, TemporaryTaskError
from worker.failures import sort_error
from worker.held_out import measure_held_out
from worker.progress import ProgressReporter
from worker.samples import load_images
from worker.screening import is_screened, reason_to_hold, screen_result, screen_task
from worker.settings import WorkerSettings
from worker.transactions import retry_transaction
from worker.unlearn import is_unlearning, unlearn

log = structlog.get_logger()

EXIT_SETTLED, EXIT_UNSETTLED = 0, 1
NICENESS = 10
"""Predictions go first where service and worker share a processor. Chosen, untested."""
STATEMENT_TIMEOUT_S = 60.0
OUTAGE_PATIENCE_S = 600.0
"""How long a learned task waits for the database before the attempt is given up."""


@dataclass(frozen=True)
class AttemptContext:
    """What all attempts of this worker work with."""

    session_factory: Sessions
    blobs: BlobStore
    settings: WorkerSettings
    stop: threading.Event
    """Set when the worker is to stop."""


def main() -> int:
    """Run one attempt and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m worker.learn")
    parser.add_argument("task_id")
    parser.add_argument("token", type=int)
    arguments = parser.parse_args()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    die_with_parent(signal.SIGKILL, os.getppid())
    os.nice(NICENESS)
    configure_logging()
    structlog.contextvars.bind_contextvars(task_id=arguments.task_id, token=arguments.token)
    settings = WorkerSettings.read()
    engine = make_engine(
        settings.require_database_url(),
        application_name="filopodia-learn",
        statement_timeout_s=STATEMENT_TIMEOUT_S,
    )
    return run_attempt(
        arguments.task_id,
        arguments.token,
        session_factory=make_session_factory(engine),
        blobs=open_blob_store(settings.blob_location),
        settings=settings,
        stop=stop,
    )


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

    Takes as long as learning does.
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
    if not is_unlearning(attempt):
        task = _load_task(attempt, blobs, backbone, progress)
        failpoint("learn.loaded")
        findings = _screen(attempt, task, backbone, context)
        if reason := reason_to_hold(attempt, findings):
            _hold_unlearned(attempt, reason, context)
            return
    strategy, report = _learn_or_unlearn(attempt, task, backbone, context, progress)
    failpoint("learn.learned")

    progress.enter("evaluating")
    rows = retry_transaction(
        session_factory,
        lambda session: samples.eval_samples_by_task(
            session, attempt.learner.id, strategy.task_indexes_
        ),
        may_go_on=_patience(context.stop),
    )
    rows = _of_known_classes(rows, strategy.classes_)
    kept = retry_transaction(
        session_factory,
        lambda session: held_out.kept(session, attempt.learner.id, list(rows)),
        may_go_on=_patience(context.stop),
    )
    found = measure_held_out(
        strategy,
        rows,
        kept,
        task,
        blobs,
        lambda fraction: progress.report(Progress("evaluating", fraction)),
    )
    measured, counts = _sorted_out(with_cross_validation(strategy, found.cells))
    if is_screened(attempt):
        findings += screen_result(
            attempt, strategy, counts["confusion"], session_factory=session_factory
        )
        _note(attempt, findings, context)
    failpoint("learn.evaluated")

    progress.enter("publishing")
    packed = artifact.pack(strategy, seed=attempt.task.seed, code_versions=code_versions())
    stored = [*found.features.values(), *packed.files.values(), packed.manifest]
    hashes = blobs.put_many(stored)
    manifest_sha256 = hashes[-1]
    features = dict(zip(found.features, hashes, strict=False))

    def keep() -> None:
        if blobs.missing(hashes):
            blobs.put_many(stored)

    failpoint("publish.after_blobs")
    new_version = NewVersion(
        parent=attempt.learner.head_version,
        task_index=attempt.task.index,
        config=_config_of(attempt, strategy),
        seed=attempt.task.seed,
        backbone_fingerprint=backbone.fingerprint,
        manifest_sha256=manifest_sha256,
        size_bytes=packed.size_bytes,
        classes=list(strategy.classes_),
        metrics={**report, "seconds": progress.seconds, **counts},
        code_versions=code_versions(),
        accuracies=measured,
        tasks=list(strategy.task_indexes_),
    )
    outcome = retry_transaction(
        session_factory,
        lambda session: _publish(session, attempt, new_version, findings, keep, features),
        may_go_on=_patience(context.stop),
    )
    failpoint("publish.after_commit")
    log.info("attempt_ended", outcome=outcome)


def _patience(stop: threading.Event) -> Callable[[], bool]:
    deadline = time.monotonic() + OUTAGE_PATIENCE_S
    return lambda: time.monotonic() < deadline and not stop.is_set()


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


def _config_of(attempt: Attempt, strategy: Strategy[Any]) -> dict[str, Any]:
    """Return what the version is learned with, spelled as the learner's own configuration is."""
    if not is_unlearning(attempt):
        return attempt.task.config
    learner = attempt.learner
    return spelled_like(learner.strategy, learner.config, strategy.name, asdict(strategy.config))


def _load_strategy(attempt: Attempt, blobs: BlobStore, backbone: Backbone) -> Strategy[Any]:
    """Build the strategy with this task's configuration and what the learner knows so far."""
    strategy = create_strategy(attempt.learner.strategy, attempt.task.config, backbone)
    if attempt.parent_manifest_sha256 is not None:
        parent = artifact.load(blobs.get(attempt.parent_manifest_sha256), blobs.get, backbone)
        strategy.classes_ = parent.classes_
        strategy.class_tasks_ = parent.class_tasks_
        strategy.task_indexes_ = parent.task_indexes_
        strategy.load_state_dict(parent.state_dict())
    return strategy


def _load_task(
    attempt: Attempt, blobs: BlobStore, backbone: Backbone, progress: ProgressReporter
) -> Task:
    n_train, n_held_out = len(attempt.train), len(attempt.held_out)

    def on_fraction(fraction: float) -> None:
        progress.report(Progress("preparing", fraction))

    images = load_images([*attempt.train, *attempt.held_out], blobs, backbone, on_fraction)
    return Task(
        index=attempt.task.index,
        images=images[:n_train],
        labels=tuple(row.label for row in attempt.train),
        held_out_images=images[n_train:] if n_held_out else None,
        held_out_labels=tuple(row.label for row in attempt.held_out),
        seed=attempt.task.seed,
    )


def _learn_or_unlearn(
    attempt: Attempt,
    task: Task | None,
    backbone: Backbone,
    context: AttemptContext,
    progress: ProgressReporter,
) -> tuple[Strategy[Any], dict[str, Any]]:
    """Learn the task's images, or unlearn if it has none; return what the learner knows now, and a report as JSON."""
    if task is None:
        strategy, done = unlearn(
            attempt,
            backbone,
            session_factory=context.session_factory,
            blobs=context.blobs,
            progress=progress,
        )
        return strategy, {"unlearning": done}
    strategy, report = _learn(attempt, task, backbone, context, progress)
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
        may_go_on=_patience(context.stop),
    )
    log.info("attempt_ended", outcome="held before learning")


def _note(attempt: Attempt, findings: list[Finding], context: AttemptContext) -> None:
    # A transaction of its own: publishing locks the learner first, and this the task.
    notes = [finding.as_json() for finding in findings]
    retry_transaction(
        context.session_factory,
        lambda session: queue.note_findings(session, attempt.task.id, attempt.token, notes),
        may_go_on=_patience(context.stop),
    )


def _learn(
    attempt: Attempt,
    task: Task,
    backbone: Backbone,
    context: AttemptContext,
    progress: ProgressReporter,
) -> tuple[Strategy[Any], LearningReport]:
    """Learn the task, from where an earlier attempt left it if its checkpoint fits, and from the beginning if not."""
    belongs_to = identity(attempt, backbone)
    keeper = CheckpointKeeper(
        context.session_factory,
        context.blobs,
        attempt.task.id,
        attempt.token,
        interval_s=context.settings.checkpoint_s,
        stop=context.stop,
    )

    def learn_from(earlier: list[Snapshot]) -> tuple[Strategy[Any], LearningReport]:
        strategy = _load_strategy(attempt, context.blobs, backbone)
        checkpoints = SectionedCheckpoints(
            keeper, belongs_to, earlier, written_by=f"attempt {attempt.token}"
        )
        return strategy, strategy.learn(replace(task, checkpoints=checkpoints), progress.report)

    earlier = read_checkpoint(attempt.task.checkpoint, context.blobs, belongs_to)
    try:
        return learn_from(earlier)
    except CheckpointError as error:
        if not earlier:
            raise
        log.warning("checkpoint_ignored", reason=str(error))
        return learn_from([])


def _sorted_out(cells: list[TaskAccuracy]) -> tuple[list[NewAccuracy], dict[str, Any]]:
    """Tell the numbers of each cell, which become a row, from its counts, which become metrics; empty ones left out."""
    accuracies = []
    counts: dict[str, Any] = {"confusion": {}, "routing": {}, "cross_validated": {}}
    for cell in cells:
        values = asdict(cell)
        of_task = {name: values.pop(name) for name in counts}
        accuracies.append(NewAccuracy(**values))
        if not cell.n:
            del of_task["routing"]  # no image took a route
        if not cell.n_cross_validated:
            del of_task["cross_validated"]
        for name, value in of_task.items():
            counts[name][str(cell.task_index)] = value
    if not counts["cross_validated"]:
        del counts["cross_validated"]
    return accuracies, counts


def _of_known_classes(
    rows: dict[int, list[SampleRow]], known: Collection[str]
) -> dict[int, list[SampleRow]]:
    """Leave out images of classes that are not known, or not any more, and tasks of which then nothing is left."""
    kept = {index: [row for row in mine if row.label in known] for index, mine in rows.items()}
    return {index: mine for index, mine in kept.items() if mine}


def _publish(
    session: Session,
    attempt: Attempt,
    new_version: NewVersion,
    findings: list[Finding],
    keep: Callable[[], None],
    features: dict[int, str],
) -> str:
    """Publish or hold the version, and return which, for the log."""
    # What the same task learned a day ago may lie there unreferenced, and be collected just now: look again.
    samples.keep_blobs(session)
    keep()
    reason = reason_to_hold(attempt, findings)
    bound = attempt.task.options.get("max_forgetting")
    forgetting = None
    if bound is not None:
        forgetting = accuracy.forgetting_if_published(session, attempt.learner.id, new_version)
    if bound is not None and forgetting is not None and forgetting.value > bound:
        too_much = (
            f"Publishing this task would bring the learner's forgetting to {forgetting.value:.3f} (95 % interval "
            f"{forgetting.low:.3f} to {forgetting.high:.3f}), above the {bound:.3f} allowed: publish it by hand, or "
            "cancel it."
        )
        reason = f"{too_much} {reason}" if reason else too_much
    if reason is not None:
        versions.hold(session, attempt.task.id, attempt.token, new_version, reason)
        outcome = "held"
    else:
        version = versions.publish(session, attempt.task.id, attempt.token, new_version)
        held_out.keep(session, attempt.learner.id, features)
        outcome = f"version {version.number}"
    failpoint("publish.before_commit")
    return outcome


if __name__ == "__main__":
    exit_code = main()
    settle()
    # Nothing is left to clean up, and taking torch down takes a second in which the next task could start.
    os._exit(exit_code)
