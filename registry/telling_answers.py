"""Telling subscribers what was answered, and which images that look like no class have gathered.

Answers are told of in the transaction that stores them, behind the requests' backs.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy.orm import Session

from registry import classes, deliveries, learners, subscriptions
from registry.deliveries import NewMessage
from registry.notices import PREDICTED, UNKNOWN_FOUND, Rule, without
from registry.predictions import NewPrediction
from registry.reviews import Waiting
from registry.tables import SubscriptionRow

MOST_IMAGES = 50
"""Images of a cluster that a message names."""
_SAID = ("index", "filename", "score", "known", "novelty")


def predicted(session: Session, predictions: Sequence[NewPrediction]) -> None:
    """Tell of answers that are being stored, each to those whose rule wants one of its images."""
    learner_ids = {prediction.learner_id for prediction in predictions}
    subscribers = subscriptions.listening(session, PREDICTED, learner_ids)
    if not subscribers:
        return
    names = learners.names(session, learner_ids)
    shown = {learner_id: classes.shown(session, learner_id) for learner_id in learner_ids}
    rules = [(one, Rule.of(one.rule)) for one in subscribers]
    messages = []
    for prediction in predictions:
        of_it = shown[prediction.learner_id]
        for one, rule in rules:
            if one.learner_id not in (None, prediction.learner_id):
                continue
            wanted = [
                _answer(result, of_it)
                for result in prediction.results
                if rule.wants_answer(result, of_it.name(str(result.get("label"))))
            ]
            if not wanted:
                continue
            data = {
                "learner": names.get(prediction.learner_id),
                "prediction": prediction.id,
                "version": prediction.version,
                "answered_at": prediction.created_at.isoformat(),
                "results": wanted,
            }
            messages.append(NewMessage(one.id, prediction.learner_id, PREDICTED, data))
    deliveries.add(session, messages)


def found_unknown(
    session: Session, subscription: SubscriptionRow, learner_id: str, cluster: Sequence[Waiting]
) -> None:
    """Tell one subscriber that images which look alike, and like no class, wait for a word."""
    data = {
        "learner": learners.get_learner_by_id(session, learner_id).name,
        "images": [
            {"prediction": one.prediction_id, "index": one.index, "filename": one.filename}
            for one in cluster[:MOST_IMAGES]
        ],
        "n_images": len(cluster),
    }
    deliveries.add(session, [NewMessage(subscription.id, learner_id, UNKNOWN_FOUND, data)])


def _answer(result: dict[str, Any], shown: classes.Shown) -> dict[str, Any]:
    other = without(result)
    return {
        "label": shown.name(result["label"]),
        **{name: result.get(name) for name in _SAID},
        **({} if other is None else {"without": shown.name(other)}),
    }
