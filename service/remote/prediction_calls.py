"""Predictions, and the history of stored ones."""

from collections.abc import Sequence
from datetime import datetime

from service.remote import replies
from service.remote.calls import Call, Pages, given


def predict(
    name: str,
    images: Sequence[tuple[str, bytes]],
    *,
    top_k: int = 5,
    trace: str = "full",
    version: int | None = None,
    min_version: int | None = None,
    store: bool = True,
) -> Call[replies.Prediction]:
    """Say what `(filename, bytes)` images show, each with the route its answer took.

    Args:
        name: The learner.
        images: File name and encoded image of each.
        top_k: How many labels to rank.
        trace: How much of the route to tell: `none`, `summary`, or `full` with every synapse.
        version: An older version instead of the live one.
        min_version: Wait until the live version is at least this one, such as a task's `version`.
        store: Keep the answer in the history.
    """
    chosen = given(version=version, min_version=min_version)
    return Call(
        "POST",
        "/v1/learners/{name}/predictions",
        {"name": name},
        params={"top_k": top_k, "trace": trace, "store": store, **chosen},
        files=[("images", (filename, data, "image/*")) for filename, data in images],
        is_harmless=True,  # asked twice, answered twice, and at most stored twice
    )


def predictions(
    name: str,
    *,
    label: str | None = None,
    known: bool | None = None,
    since: datetime | None = None,
    limit: int | None = None,
) -> Pages[replies.StoredPrediction]:
    """List stored predictions of a learner, newest first.

    Args:
        name: The learner.
        label: Only requests with an image of that label.
        known: False for those with an image that looked like no class.
        since: Only later ones; a time with its zone.
        limit: Most to read; None for all.
    """
    after = None if since is None else since.isoformat()
    params = given(label=label, known=known, since=after)
    return Pages("/v1/learners/{name}/predictions", {"name": name}, params, limit)


def prediction(prediction_id: str) -> Call[replies.StoredPrediction]:
    """Read one stored prediction."""
    return Call("GET", "/v1/predictions/{prediction_id}", {"prediction_id": prediction_id})
