"""Moving the alias that is served: the change and its note in the audit log, in one transaction."""

from registry import audit, learners, versions
from registry.audit import Actor
from registry.postgres.database import Session


def move(
    session: Session,
    actor: Actor,
    name: str,
    version: int,
    *,
    expected: int | None,
    move_head: bool,
) -> int:
    """Serve another version of a learner, and return the version its next task builds on.

    Args:
        session: Database session.
        actor: Who moves it.
        name: Of the learner.
        version: Number of the version to serve.
        expected: Version that must be served now (0: none), or None to move it whatever is.
        move_head: Whether the next task builds on it too.

    Raises:
        LearnerNotFoundError: If there is no learner of this name.
        VersionNotFoundError: If it has no such version.
        VersionErasedError: If that was erased.
        AliasMovedError: If another version is served than expected.
        LearnerBusyError: If the head is to move while a task waits or runs.
    """
    learner = learners.get_learner(session, name, lock=True)
    before = {"version": learners.live_version(session, learner.id), "head": learner.head_version}
    learners.set_alias(session, learner.id, version, expected=expected)
    if move_head:
        versions.move_head(session, learner.id, version)
    after = {"version": version, "head": learner.head_version}
    audit.record(
        session,
        actor,
        "alias.move",
        learner=name,
        subject=learners.LIVE,
        details={"before": before, "after": after},
    )
    return learner.head_version
