"""Images that are there under two labels: in one request, or in it and in the learner. Refused by name, or left out."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from registry.classes import Shown
from service.intake.samples import MAX_NAMED, Received, ReceivedImage, rejection
from service.problems import FieldError, Problem

CODE = "label-conflict"
WAYS_ON = "Remove them, or send `on_bad_image=skip` to leave them out and learn from the others."


@dataclass(frozen=True)
class _Conflict:
    image: ReceivedImage
    detail: str
    other: Mapping[str, Any]


def without_conflicts(
    received: Received, labels: Mapping[str, Sequence[str]], shown: Shown, *, skip: bool
) -> Received:
    """Refuse images that contradict each other or what the learner has, or leave every one of them out.

    Args:
        received: What came.
        labels: Blob of each image that the learner has, with the labels it has it under.
        shown: What the learner's classes are called.
        skip: Leave them out: none of two copies can be told to be the right one.

    Raises:
        Problem: `label-conflict`, naming each image, both labels, and the other file.
    """
    conflicts = [*_within(received.images, shown), *_with_learner(received.images, labels, shown)]
    if not conflicts:
        return received
    if not skip:
        raise Problem(CODE, _detail(conflicts), errors=tuple(map(_error, conflicts[:MAX_NAMED])))
    left_out = {id(conflict.image) for conflict in conflicts}
    rejected = [
        rejection(image.raw, CODE)
        for image in received.images
        if id(image) in left_out and image.feedback is None
    ]
    in_conflict = {(c.image.label, c.image.blob_sha256) for c in conflicts}
    return Received(
        [image for image in received.images if id(image) not in left_out],
        sorted([*received.rejected, *rejected], key=lambda item: item["index"]),
        [g for g in received.feedback if (g.label, g.blob_sha256) not in in_conflict],
    )


def _within(images: Sequence[ReceivedImage], shown: Shown) -> list[_Conflict]:
    copies: dict[str, dict[str, ReceivedImage]] = defaultdict(dict)
    for image in images:
        if image.is_used:
            copies[image.blob_sha256].setdefault(image.label, image)
    conflicts = []
    for image in images:
        others = [
            other for label, other in copies[image.blob_sha256].items() if label != image.label
        ]
        if image.is_used and others:
            other = {
                "label": shown.name(others[0].label),
                "other_index": others[0].raw.index,
                "other_filename": others[0].raw.filename,
            }
            detail = "The same image came under another label too."
            conflicts.append(_Conflict(image, detail, _with_own(image, other, shown)))
    return conflicts


def _with_learner(
    images: Sequence[ReceivedImage], labels: Mapping[str, Sequence[str]], shown: Shown
) -> list[_Conflict]:
    conflicts = []
    for image in images:
        there = labels.get(image.blob_sha256, ())
        if image.is_used and there and image.label not in there:
            detail = "The learner has the same image under another label."
            other = _with_own(image, {"label": shown.name(there[0])}, shown)
            conflicts.append(_Conflict(image, detail, other))
    return conflicts


def _with_own(image: ReceivedImage, other: dict[str, Any], shown: Shown) -> dict[str, Any]:
    return {**other, "given_label": shown.name(image.label)}


def _detail(conflicts: Sequence[_Conflict]) -> str:
    n_within = sum("other_index" in conflict.other for conflict in conflicts)
    n_with_learner = len(conflicts) - n_within
    sentences = []
    if n_within:
        sentences.append(
            f"{n_within} of the images show the same as another one with another label."
        )
    if n_with_learner:
        sentences.append(f"The learner has {n_with_learner} of the images under another label.")
    return " ".join([*sentences, "`errors` names each with both labels.", WAYS_ON])


def _error(conflict: _Conflict) -> FieldError:
    image = conflict.image
    if image.feedback is None:
        named = {"index": image.raw.index, "filename": image.raw.filename}
        return FieldError(
            f"/images/{image.raw.index}", conflict.detail, extra={**named, **conflict.other}
        )
    named = {"prediction": image.feedback.prediction_id, "index": image.feedback.index}
    return FieldError("/options/from_feedback", conflict.detail, extra={**named, **conflict.other})
