"""Stored predictions as clients read them, with what is kept of them and what was said about them."""

from collections.abc import Sequence

from registry import classes, feedback, predictions
from registry.classes import PLAIN
from registry.postgres.database import Session
from registry.tables import PredictionRow
from service.inference.answers import named
from service.schemas.predictions import GivenFeedback, StoredPrediction

READ_OWN_WRITES_S = 5.0
"""How long a reader waits for answers just given to be stored."""


def read_predictions(
    session: Session, learner: str, rows: Sequence[PredictionRow]
) -> list[StoredPrediction]:
    """Return what predictions of a learner read like."""
    ids = [row.id for row in rows]
    images = predictions.kept_images(session, ids)
    given = feedback.of_predictions(session, ids)
    shown = classes.shown(session, rows[0].learner_id) if rows else PLAIN
    return [
        StoredPrediction(
            id=row.id,
            learner=learner,
            version=row.version,
            results=named(row.results, shown),
            images=images.get(row.id, []),
            feedback=[
                GivenFeedback(
                    index=item.index,
                    label=shown.name(item.label),
                    task=item.task_id,
                    created_at=item.created_at,
                )
                for item in given.get(row.id, [])
            ],
            created_at=row.created_at,
        )
        for row in rows
    ]
