"""Predictions, and the history of stored ones."""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

from service.remote import replies
from service.remote.calls import Call, Pages, given, read_bytes, read_nothing
from service.remote.prediction_parts import InParts, Part


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

    Raises:
        TypeError: If an image is something else than such a pair.
        ValueError: If there is no image.
    """
    _check_images(images)
    chosen = given(version=version, min_version=min_version)
    return Call(
        "POST",
        "/v1/learners/{name}/predictions",
        {"name": name},
        params={"top_k": top_k, "trace": trace, "store": store, **chosen},
        files=[("images", (filename, data, "image/*")) for filename, data in images],
        is_harmless=True,  # asked twice, answered twice, and at most stored twice
    )


def predict_all(
    name: str,
    images: Sequence[tuple[str, bytes]],
    *,
    top_k: int = 5,
    trace: str = "full",
    version: int | None = None,
    min_version: int | None = None,
    store: bool = True,
    on_part: Callable[[Part], None] | None = None,
) -> InParts:
    """Say what any number of images show, in as many requests as the service wants them in.

    The reply has one result for each image, in their order, each with `prediction` and `version` of its request. One
    that cannot be used, or is too much for a request alone, has its `problem` in place of an answer.

    Args:
        name: The learner.
        images: File name and encoded image of each.
        top_k: How many labels to rank.
        trace: How much of the route to tell: `none`, `summary`, or `full` with every synapse.
        version: An older version instead of the live one.
        min_version: Wait until the live version is at least this one, such as a task's `version`.
        store: Keep the answers in the history.
        on_part: Told of each part as it is answered: the later ones may fail.

    Raises:
        TypeError: If an image is something else than such a pair.
        ValueError: If there is no image.
    """
    _check_images(images)
    ask = partial(
        predict,
        name,
        top_k=top_k,
        trace=trace,
        version=version,
        min_version=min_version,
        store=store,
    )
    return InParts(ask, images, on_part)


def _check_images(images: Sequence[tuple[str, bytes]]) -> None:
    for image in images:
        match image:
            case (str(), bytes() | bytearray() | memoryview()):
                pass
            case _:
                raise TypeError(
                    "An image to predict is a pair of file name and bytes, such as (path.name, path.read_bytes()), "
                    f"and no {type(image).__name__}."
                )
    if not images:
        raise ValueError("There is no image to predict.")


def predictions(
    name: str,
    *,
    label: str | None = None,
    known: bool | None = None,
    since: datetime | None = None,
    feedback: bool | None = None,
    limit: int | None = None,
) -> Pages[replies.StoredPrediction]:
    """List stored predictions of a learner, newest first.

    Args:
        name: The learner.
        label: Only requests with an image of that label.
        known: False for those with an image that looked like no class.
        since: Only later ones; a time with its zone.
        feedback: True for those with feedback on one of their images, False for those without.
        limit: Most to read; None for all.
    """
    after = None if since is None else since.isoformat()
    params = given(label=label, known=known, since=after, feedback=feedback)
    return Pages("/v1/learners/{name}/predictions", {"name": name}, params, limit)


def prediction(prediction_id: str) -> Call[replies.StoredPrediction]:
    """Read one stored prediction."""
    return Call("GET", "/v1/predictions/{prediction_id}", {"prediction_id": prediction_id})


def give_feedback(
    prediction_id: str, label: str, *, index: int = 0
) -> Call[replies.StoredPrediction]:
    """Say what is really on an image of a stored prediction; a task with `from_feedback` learns from it.

    Args:
        prediction_id: The prediction.
        label: What is on the image: a class the learner knows, or a new one.
        index: Of the result.
    """
    return Call(
        "POST",
        "/v1/predictions/{prediction_id}/feedback",
        {"prediction_id": prediction_id},
        json={"index": index, "label": label},
        is_harmless=True,  # said twice, it is the same word
    )


def withdraw_feedback(prediction_id: str, *, index: int = 0) -> Call[None]:
    """Take feedback back that no task has taken yet."""
    return Call(
        "DELETE",
        "/v1/predictions/{prediction_id}/feedback/{index}",
        {"prediction_id": prediction_id, "index": index},
        read=read_nothing,
    )


def feedback(
    name: str, *, pending: bool | None = None, limit: int | None = None
) -> Pages[replies.Feedback]:
    """List the feedback on a learner's predictions, newest first.

    Args:
        name: The learner.
        pending: True for what the next task may take, False for what a task has taken.
        limit: Most to read; None for all.
    """
    return Pages("/v1/learners/{name}/feedback", {"name": name}, given(pending=pending), limit)


def prediction_image(prediction_id: str, *, index: int = 0) -> Call[bytes]:
    """Read the kept image of a result, as it would be learned from: a PNG."""
    places = {"prediction_id": prediction_id, "index": index}
    return Call("GET", "/v1/predictions/{prediction_id}/images/{index}", places, read=read_bytes)


def why(prediction_id: str, *, index: int = 0) -> Call[replies.Account]:
    """Say why a stored prediction answered an image as it did: what each synapse changes, and what each head says.

    Args:
        prediction_id: The prediction; its image has to be kept.
        index: Of the result.
    """
    places = {"prediction_id": prediction_id, "index": index}
    return Call("GET", "/v1/predictions/{prediction_id}/images/{index}/why", places)


def why_image(
    name: str, image: tuple[str, bytes], *, version: int | None = None
) -> Call[replies.Account]:
    """Say why a `(filename, bytes)` image is answered as it is; nothing is stored.

    Args:
        name: The learner.
        image: File name and encoded image.
        version: An older version instead of the live one.
    """
    _check_images([image])
    return Call(
        "POST",
        "/v1/learners/{name}/why",
        {"name": name},
        params=given(version=version),
        files=[("images", (image[0], image[1], "image/*"))],
        is_harmless=True,  # asked twice, answered twice
    )


def heat(prediction_id: str, *, index: int = 0) -> Call[replies.Heat]:
    """Say which places of a stored prediction's image speak for its answer, as numbers.

    Args:
        prediction_id: The prediction; its image has to be kept.
        index: Of the result.
    """
    places = {"prediction_id": prediction_id, "index": index}
    return Call("GET", "/v1/predictions/{prediction_id}/images/{index}/heat", places)


def heat_image(prediction_id: str, *, index: int = 0) -> Call[bytes]:
    """Draw the same over the image: a PNG, orange where it speaks for the answer, blue where against it."""
    places = {"prediction_id": prediction_id, "index": index}
    return Call(
        "GET", "/v1/predictions/{prediction_id}/images/{index}/heat.png", places, read=read_bytes
    )
