"""The end of an attempt that has learned: its version is published, or held for a person to decide."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from models.screening import Finding
from models.strategies.base import Strategy
from models.strategies.spelling import spelled_like
from registry import accuracy, held_out, queue, samples, versions
from registry.failpoints import failpoint
from registry.postgres.database import Session
from registry.schedule import Schedule
from registry.tables import CONSOLIDATED_STAGE, LEARNED_STAGE
from registry.versions import NewVersion
from worker.attempt import Attempt
from worker.consolidate import is_consolidation
from worker.correct import is_correction
from worker.screening import reason_to_hold
from worker.training import with_lasting
from worker.unlearn import is_unlearning

HELD = "held"
"""Outcome of an attempt whose version waits for somebody to publish it."""


def config_of(attempt: Attempt, strategy: Strategy[Any]) -> dict[str, Any]:
    """Return what the version is learned with, spelled as the learner's own configuration is."""
    if not is_unlearning(attempt) and not is_correction(attempt):
        return with_lasting(attempt.task.config, strategy)
    learner = attempt.learner
    return spelled_like(learner.strategy, learner.config, strategy.name, asdict(strategy.config))


def stage_of(attempt: Attempt, strategy: Strategy[Any]) -> str:
    """Return the stage of what an attempt has made of its learner.

    A strategy that never consolidates has but one. For others a version is consolidated if a consolidation made it, or
    if nothing it knows waits for one, as after what waited was unlearned.
    """
    is_over = strategy.consolidates and not strategy.unconsolidated_
    return CONSOLIDATED_STAGE if is_consolidation(attempt) or is_over else LEARNED_STAGE


def publish(
    session: Session,
    attempt: Attempt,
    new_version: NewVersion,
    findings: list[Finding],
    keep: Callable[[], None],
    features: Mapping[int, str],
    schedule: Schedule,
) -> str:
    """Publish or hold the version, and return which, for the log. A consolidation is declined instead of held.

    Args:
        session: Database session.
        attempt: The attempt.
        new_version: What would be published.
        findings: What looked wrong.
        keep: Sees to it that all its blobs are there.
        features: Blobs of features of held-out images, by the index of their task.
        schedule: When what waits is consolidated.
    """
    # What the same task learned a day ago may lie there unreferenced, and be collected just now: look again.
    samples.keep_blobs(session)
    keep()
    reason = reason_to_hold(attempt, findings)
    bound = attempt.task.options.get("max_forgetting")
    forgetting = None
    if bound is not None:
        forgetting = accuracy.forgetting_if_published(session, attempt.learner.id, new_version)
    if bound is not None and forgetting is not None and forgetting.value > bound:
        advice = "." if is_consolidation(attempt) else ": publish it by hand, or cancel it."
        too_much = (
            f"Publishing this task would bring the learner's forgetting to {forgetting.value:.3f} (95 % interval "
            f"{forgetting.low:.3f} to {forgetting.high:.3f}), above the {bound:.3f} allowed{advice}"
        )
        reason = f"{too_much} {reason}" if reason else too_much
    if reason is not None and is_consolidation(attempt):
        result = {**(new_version.result or {}), "adopted": False, "reason": reason}
        queue.decline(session, attempt.task.id, attempt.token, result)
        outcome = "declined"
    elif reason is not None:
        versions.hold(session, attempt.task.id, attempt.token, new_version, reason)
        outcome = HELD
    else:
        version = versions.publish(session, attempt.task.id, attempt.token, new_version, schedule)
        held_out.keep(session, attempt.learner.id, features)
        outcome = f"version {version.number}"
    failpoint("publish.before_commit")
    return outcome
