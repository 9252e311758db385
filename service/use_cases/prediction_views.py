"""Stored predictions as clients read them, with what is kept of them and what was said about them."""

import time
from collections.abc import Sequence

from registry import classes, feedback, ids, predictions
from registry.classes import PLAIN
from registry.postgres.database import Session
from registry.tables import PredictionRow
from service.dependencies import AppContext
from service.inference.answers import named
from service.schemas.predictions import GivenFeedback, StoredPrediction

READ_OWN_WRITES_S = 5.0
"""How long a reader waits for answers just given to be stored."""
ELSEWHERE_S = 1.0
"""How long a reader waits for an answer that another service may have given just now: ten times what its writer waits
for others to store with it. It is also what it takes to say that there is none."""
_POLL_S = 0.02


def wait_stored(context: AppContext, prediction_id: str) -> None:
    """Wait until a prediction that was just answered, here or by another service, is stored. Blocks."""
    context.writer.wait_written(READ_OWN_WRITES_S)
    deadline = time.monotonic() + ELSEWHERE_S
    made_at_s = ids.made_at_s(prediction_id)
    while abs(time.time() - made_at_s) < READ_OWN_WRITES_S and time.monotonic() < deadline:
        with context.session_factory() as session:
            if predictions.is_stored(session, prediction_id):
                return
        time.sleep(_POLL_S)


def read_predictions(
    session: Session, learner: str, rows: Sequence[PredictionRow]
) -> list[StoredPrediction]:
    """Return what predictions of a learner read like."""
    row_ids = [row.id for row in rows]
    images = predictions.kept_images(session, row_ids)
    given = feedback.of_predictions(session, row_ids)
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
