"""Creating, describing and deleting learners: each with its note in the audit log, in the caller's transaction."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

from models.backbone import expected_side, is_known_backbone
from registry import audit, learners
from registry.audit import Actor
from registry.postgres.database import Session
from registry.tables import LearnerRow
from service.intake.forms import ImageForm
from service.problems import Problem
from service.use_cases.configs import complete_config


def choose(
    strategy: str, config: dict[str, Any], backbone: str, *, weights: Path | None
) -> dict[str, Any]:
    """Return the complete configuration of a learner that is to be created so.

    Args:
        strategy: Its name in the catalog.
        config: Hyperparameters that are not to have their defaults.
        backbone: Its name.
        weights: Where the operator's weights of backbones lie.

    Raises:
        Problem: `unknown-strategy`, `invalid-config` or `unknown-backbone`.
    """
    complete = complete_config(strategy, config)
    if not is_known_backbone(backbone, weights=weights):
        raise Problem("unknown-backbone")
    return complete


def create_learner(
    session: Session,
    actor: Actor,
    name: str,
    *,
    strategy: str,
    backbone: str,
    config: dict[str, Any],
    metadata: dict[str, Any],
) -> LearnerRow:
    """Create a learner that knows nothing yet. Arguments as in `registry.learners`; the configuration is complete.

    Raises:
        LearnerExistsError: If the name is taken.
    """
    row = learners.create_learner(
        session,
        name,
        strategy=strategy,
        backbone=backbone,
        config=config,
        halved_to=ImageForm.looked_at_by(expected_side(backbone)).halved_to,
        metadata=metadata,
    )
    details = {"strategy": strategy, "backbone": backbone}
    audit.record(session, actor, "learner.create", learner=name, subject=name, details=details)
    return row


def update_metadata(
    session: Session, actor: Actor, name: str, metadata: dict[str, Any], *, if_match: str | None
) -> LearnerRow:
    """Replace what users wrote about a learner.

    Args:
        session: Database session.
        actor: Who does it.
        name: Of the learner.
        metadata: What stands there from now on.
        if_match: Fingerprint of what must stand there now, as `metadata_etag` makes it; None or `*` for anything.

    Raises:
        LearnerNotFoundError: If there is no learner of this name.
        Problem: `precondition-failed`, if something else stands there.
    """
    before = metadata_etag(learners.get_learner(session, name, lock=True))
    if if_match not in (None, "*", before):
        raise Problem("precondition-failed")
    row = learners.update_metadata(session, name, metadata)
    # What users wrote is not for the log: a fingerprint tells the states apart.
    details = {"metadata": {"before": before, "after": metadata_etag(row)}}
    audit.record(session, actor, "learner.update", learner=name, subject=name, details=details)
    return row


def delete_learner(session: Session, actor: Actor, name: str) -> None:
    """Delete a learner with its tasks, versions and predictions.

    Raises:
        LearnerNotFoundError: If there is no learner of this name.
        LearnerBusyError: If one of its tasks is running.
    """
    row = learners.get_learner(session, name)
    details = {
        "strategy": row.strategy,
        "tasks": row.last_task_index,
        "head_version": row.head_version,
    }
    learners.delete_learner(session, name)
    audit.record(session, actor, "learner.delete", learner=name, subject=name, details=details)


def metadata_etag(row: LearnerRow) -> str:
    """Return the entity tag of a learner's metadata, in quotes (RFC 9110, 8.8.3)."""
    content = json.dumps(row.metadata_, sort_keys=True)
    return f'"{sha256(content.encode()).hexdigest()[:24]}"'
