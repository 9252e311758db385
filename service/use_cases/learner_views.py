"""What a learner reads like."""

from registry import accuracy, learners, versions
from registry.errors import VersionNotFoundError
from registry.postgres.database import Session
from registry.schedule import Schedule
from registry.tables import LearnerRow
from service.schemas.learners import (
    LearnerAccuracy,
    LearnerRead,
)
from service.schemas.measures import LearnerMeasures
from service.use_cases.consolidations import read_learner_consolidation


def read_learner(session: Session, row: LearnerRow, schedule: Schedule) -> LearnerRead:
    """Gather what a learner reads like: a handful of small queries."""
    live = learners.live_version(session, row.id)
    history = accuracy.history(session, row.id, live)
    return LearnerRead(
        name=row.name,
        strategy=row.strategy,
        backbone=row.backbone,
        config=row.config,
        metadata=row.metadata_,
        created_at=row.created_at,
        classes=_class_count(session, row, live),
        tasks=history.n_known,
        head_version=row.head_version,
        live_version=live,
        accuracy=LearnerAccuracy(
            last=history.last,
            average=history.average,
            forgetting=history.forgetting,
            measures=LearnerMeasures.of(history.measures),
        ),
        consolidation=read_learner_consolidation(session, row, schedule),
    )


def _class_count(session: Session, row: LearnerRow, live: int) -> int:
    try:
        return len(versions.get_version(session, row.id, live).classes) if live else 0
    except VersionNotFoundError:
        return 0
