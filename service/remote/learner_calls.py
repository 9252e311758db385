"""Learners, their classes, versions and accuracy, and what a learner can be created with."""

from types import EllipsisType
from typing import Any

import httpx

from service.remote import replies
from service.remote.calls import Call, Pages, given, read_items, read_json, read_nothing, read_text

CLASSES = "/v1/learners/{name}/classes"
CLASS = "/v1/learners/{name}/classes/{label}"
NO_ADDRESS = frozenset({".", ".."})
"""Labels that vanish from an address. New classes cannot have them, older ones may."""


def create_learner(
    name: str,
    *,
    strategy: str | None = None,
    backbone: str | None = None,
    config: dict[str, Any] | None = None,
    metadata: dict[str, Any] | None = None,
    idempotency_key: str | None = None,
) -> Call[replies.Learner]:
    """Create a learner; None leaves the choice to the service."""
    chosen = given(strategy=strategy, backbone=backbone, config=config, metadata=metadata)
    return Call(
        "POST",
        "/v1/learners",
        headers=given(**{"Idempotency-Key": idempotency_key}),
        json={"name": name, **chosen},
        creates=True,
    )


def learner(name: str) -> Call[replies.Learner]:
    """Read one learner; its `etag` stands for its metadata."""
    return Call("GET", "/v1/learners/{name}", {"name": name}, read=_read_with_etag)


def learners(*, limit: int | None = None) -> Pages[replies.Learner]:
    """List the learners by name."""
    return Pages("/v1/learners", limit=limit)


def update_learner(
    name: str, metadata: dict[str, Any], *, if_match: str | None = None
) -> Call[replies.Learner]:
    """Replace a learner's metadata; with `if_match`, only if they are still those of that `etag`."""
    return Call(
        "PATCH",
        "/v1/learners/{name}",
        {"name": name},
        headers=given(**{"If-Match": if_match}),
        json={"metadata": metadata},
        read=_read_with_etag,
    )


def delete_learner(name: str) -> Call[None]:
    """Delete a learner with its tasks, versions and predictions."""
    return Call("DELETE", "/v1/learners/{name}", {"name": name}, read=read_nothing)


def classes(name: str) -> Call[list[replies.LearnedClass]]:
    """List the classes of the live version in the order they were learned, also hidden ones."""
    return Call("GET", CLASSES, {"name": name}, read=read_items)


def learned_class(name: str, label: str) -> Call[replies.LearnedClass]:
    """Read one class by its label or name; its `etag` stands for its name and whether it is hidden."""
    return Call("GET", CLASS, {"name": name, "label": label}, read=_read_with_etag)


def update_class(
    name: str,
    label: str,
    *,
    shown_name: str | EllipsisType | None = ...,
    hidden: bool | None = None,
    min_score: float | EllipsisType | None = ...,
    if_match: str | None = None,
) -> Call[replies.LearnedClass]:
    """Rename or hide a class, or say from which score it is known; what was learned stays as it is.

    Args:
        name: The learner.
        label: Label or name of the class.
        shown_name: What to call it from now on; None is its label again, and `...` leaves it.
        hidden: Whether predictions never answer it; None leaves it.
        min_score: Score below which an answer of it counts as not known; None for none, and `...` leaves it.
        if_match: Only if the class is still as it was with this `etag`.
    """
    called: dict[str, Any] = {} if shown_name is ... else {"name": shown_name}
    limits = {} if min_score is ... else {"min_score": min_score}
    is_lost = label.strip() in NO_ADDRESS
    return Call(
        "PATCH",
        CLASSES if is_lost else CLASS,
        {"name": name} if is_lost else {"name": name, "label": label},
        params={"label": label} if is_lost else {},
        headers=given(**{"If-Match": if_match}),
        json={**called, **limits, **given(hidden=hidden)},
        read=_read_with_etag,
    )


def insights(
    name: str, label: str | None = None, *, limit: int | None = None
) -> Call[replies.Insights]:
    """Tell which of a learner's training images hurt, and which are alike.

    Args:
        name: The learner.
        label: Only images of this class, by its label or name.
        limit: Most images of each kind.

    Returns:
        `ready` is false while it is being found out, once a version: ask again.
    """
    return Call(
        "GET",
        "/v1/learners/{name}/insights",
        {"name": name},
        params=given(label=label, limit=limit),
    )


def drift(name: str) -> Call[replies.Drift]:
    """Read what a learner was asked about day by day, and whether the images look different of late."""
    return Call("GET", "/v1/learners/{name}/drift", {"name": name})


def accuracy(name: str, *, version: int | None = None) -> Call[replies.AccuracyHistory]:
    """Read how well every task was known with every version that leads to one of them; to the head unless given."""
    params = given(version=version)
    return Call("GET", "/v1/learners/{name}/accuracy", {"name": name}, params=params)


def accuracy_csv(name: str) -> Call[str]:
    """Read the same as CSV, one line a cell."""
    return Call(
        "GET",
        "/v1/learners/{name}/accuracy",
        {"name": name},
        params={"format": "csv"},
        headers={"Accept": "text/csv"},
        read=read_text,
    )


def versions(name: str, *, limit: int | None = None) -> Pages[replies.Version]:
    """List a learner's versions, newest first."""
    return Pages("/v1/learners/{name}/versions", {"name": name}, limit=limit)


def version(name: str, number: int) -> Call[replies.Version]:
    """Read one version: what it was learned from, with which configuration, and what it weighs."""
    places = {"name": name, "number": number}
    return Call("GET", "/v1/learners/{name}/versions/{number}", places)


def confusion(name: str, number: int) -> Call[replies.Confusion]:
    """Read which held-out images a version took for what."""
    places = {"name": name, "number": number}
    return Call("GET", "/v1/learners/{name}/versions/{number}/confusion", places)


def confused_pairs(
    name: str, number: int, *, label: str | None = None, limit: int = 50
) -> Call[replies.ConfusedPairs]:
    """Read which pairs of classes a version confuses, the most images first.

    Args:
        name: The learner.
        number: Of the version.
        label: Only pairs with this class on either side.
        limit: Most pairs.
    """
    return Call(
        "GET",
        "/v1/learners/{name}/versions/{number}/confusion/pairs",
        {"name": name, "number": number},
        params=given(label=label, limit=limit),
    )


def confused_images(
    name: str, number: int, *, true: str, answered: str
) -> Call[replies.ConfusedImages]:
    """Read which images of a class a version answers as another, with their scores.

    Args:
        name: The learner.
        number: Of the version.
        true: The class they were taught as.
        answered: What they are answered as; the same class for those that are answered right.
    """
    return Call(
        "GET",
        "/v1/learners/{name}/versions/{number}/confusion/images",
        {"name": name, "number": number},
        params={"true": true, "answered": answered},
    )


def live(name: str) -> Call[replies.Alias]:
    """Read which version answers predictions."""
    return Call("GET", "/v1/learners/{name}/aliases/live", {"name": name})


def move_live(
    name: str, version: int, *, expected: int | None = None, move_head: bool = False
) -> Call[replies.Alias]:
    """Serve another version: roll back or forward. With `expected`, only if that one is served now.

    With `move_head` the next task builds on it too, and tasks that do not lead to it become `superseded`.
    """
    return Call(
        "PUT",
        "/v1/learners/{name}/aliases/live",
        {"name": name},
        headers={} if expected is None else {"If-Match": f'"{expected}"'},
        json={"version": version, "move_head": move_head},
    )


def strategies() -> Call[list[replies.Strategy]]:
    """List the ways to learn that a learner can be created with."""
    return Call("GET", "/v1/strategies", read=read_items)


def backbones() -> Call[list[replies.Backbone]]:
    """List the frozen networks that a learner can be created with."""
    return Call("GET", "/v1/backbones", read=read_items)


def _read_with_etag(response: httpx.Response) -> Any:
    return read_json(response) | given(etag=response.headers.get("ETag"))
