"""From the images of a request to the samples of a task: what contradicts or is known stays out, the rest is split.

Works on what the learner has at that moment, so the learner stays locked until the task is added.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from registry.classes import Shown
from registry.feedback import FeedbackImage
from registry.growth import ClassSize, EarlierImages
from registry.samples import NewSample
from service.intake.conflicts import without_conflicts
from service.intake.samples import MAX_NAMED, Received, ReceivedImage
from service.intake.splitting import NOTHING, SplitRequest, assign_splits
from service.layout.names import AUTO, EVAL, TRAIN
from service.problems import FieldError, Problem
from service.schemas.tasks import TaskOptions


@dataclass(frozen=True)
class SelectedSamples:
    """What a task is to learn, and what became of the rest of its request."""

    samples: Sequence[NewSample]
    classes: Sequence[str]
    """Labels that have an image to learn."""
    rejected: Sequence[dict[str, Any]]
    """Images left out: `{index, filename, problem}` each."""
    quarantined: Sequence[dict[str, Any]]
    """Images that are kept but not used: `{index, filename, reason}` each."""
    feedback: Sequence[FeedbackImage]
    """What the task takes."""
    n_duplicates: int
    """Images that came more than once, counted without the first. They are learned once."""
    n_known: int
    """Images left out because the learner has them."""
    n_splits_kept: int
    """Images that stay on the side they had before, although the request named the other one."""

    def count(self, split: str) -> int:
        """Return how many images are in a split, without those in quarantine."""
        return sum(s.split == split and s.quarantine is None for s in self.samples)


def select_samples(
    received: Received,
    earlier: EarlierImages,
    shown: Shown,
    options: TaskOptions,
    *,
    min_images: int,
    hold_out_from: int = 0,
) -> SelectedSamples:
    """Decide what a task is to learn of the images that came.

    Args:
        received: What came.
        earlier: What the learner has of it already.
        shown: What the learner's classes are called.
        options: Of the task.
        min_images: Least different images of a class that is new.
        hold_out_from: Images of a class below which none is held out, unless the sender says which or how many.

    Raises:
        Problem: `label-conflict`; `too-few-images`; `nothing-new`, if the learner has all of them.
    """
    skip = options.on_bad_image == "skip"
    agreed = without_conflicts(received, earlier.labels, shown, skip=skip)
    different = _without_copies(agreed.images)
    new = different
    if options.mode == "extend":
        new = [image for image in different if not _is_known(image, earlier)]
    n_copies, n_known = len(agreed.images) - len(different), len(different) - len(new)
    samples = _split(new, earlier, options, hold_out_from)
    new_labels = [i.label for i in received.images if i.label not in earlier.classes]
    _check_counts(
        new_labels, Counter(i.label for i in agreed.images if i.is_used), samples, min_images
    )
    if n_known and not any(image.is_used for image in new):
        raise _nothing_new(n_known, n_copies, len(agreed.rejected))
    _check_something_to_learn(samples)
    return SelectedSamples(
        samples=samples,
        classes=list(dict.fromkeys(s.label for s in samples if _is_learned(s))),
        rejected=agreed.rejected,
        quarantined=[
            {"index": i.raw.index, "filename": i.raw.filename, "reason": i.quarantine}
            for i in new
            if not i.is_used
        ],
        feedback=agreed.feedback,
        n_duplicates=n_copies,
        n_known=n_known,
        n_splits_kept=sum(
            image.raw.split not in (AUTO, earlier.sides.get(image.blob_sha256, image.raw.split))
            for image in different
            if image.is_used
        ),
    )


def _without_copies(images: Sequence[ReceivedImage]) -> list[ReceivedImage]:
    """Return the first of each image that came more than once. Held out is what any copy is to be held out."""
    splits: dict[tuple[str, str], set[str]] = defaultdict(set)
    for image in images:
        if image.is_used:
            splits[image.label, image.blob_sha256].add(image.raw.split)
    left = []
    for image in images:
        # Blank ones are named one by one in the answer, so each stays.
        wanted = splits.pop((image.label, image.blob_sha256), None) if image.is_used else {AUTO}
        if wanted is not None:
            split = next(split for split in (EVAL, TRAIN, AUTO) if split in {*wanted, AUTO})
            left.append(replace(image, raw=replace(image.raw, split=split)))
    return left


def _is_known(image: ReceivedImage, earlier: EarlierImages) -> bool:
    if not image.is_used:
        return image.blob_sha256 in earlier.blanks
    return (image.label, image.blob_sha256) in earlier.known


def _nothing_new(n_known: int, n_copies: int, n_rejected: int) -> Problem:
    detail = f"Nothing new: the learner has learned all {n_known} images, or is about to."
    if n_copies:
        detail += f" {n_copies} more are copies of these."
    if n_rejected:
        detail += f" {n_rejected} more cannot be used."
    counts = {"known": n_known, "duplicates": n_copies, "rejected": n_rejected}
    error = FieldError("/images", "The learner has these images already.", extra=counts)
    return Problem("nothing-new", detail, errors=(error,))


def _split(
    images: Sequence[ReceivedImage],
    earlier: EarlierImages,
    options: TaskOptions,
    hold_out_from: int,
) -> list[NewSample]:
    used = [image for image in images if image.is_used]
    sizes = dict(earlier.sizes)
    for image in used:
        side = earlier.sides.get(image.blob_sha256)
        if side is not None and (image.label, image.blob_sha256) not in earlier.known:
            size = sizes.get(image.label, NOTHING)
            sizes[image.label] = ClassSize(size.n_images + 1, size.n_held_out + (side == EVAL))
    requests = [
        SplitRequest(
            image.label,
            image.blob_sha256,
            earlier.sides.get(image.blob_sha256, image.raw.split),
        )
        for image in used
    ]
    is_share_given = "eval_fraction" in options.model_fields_set
    splits = iter(
        assign_splits(
            requests,
            eval_fraction=options.eval_fraction,
            seed=options.seed,
            sizes=sizes,
            hold_out_from=0 if is_share_given else hold_out_from,
        )
    )
    return [
        NewSample(
            label=image.label,
            split=next(splits) if image.is_used else TRAIN,
            blob_sha256=image.blob_sha256,
            filename=image.raw.filename,
            width=image.width,
            height=image.height,
            quarantine=image.quarantine,
            source_sha256=image.source_sha256,
        )
        for image in images
    ]


def _is_learned(sample: NewSample) -> bool:
    return sample.quarantine is None and sample.split == TRAIN


def _check_counts(
    labels: Sequence[str], n_sent: Mapping[str, int], samples: Sequence[NewSample], min_images: int
) -> None:
    """Refuse if a new class has too few different images, or none of them to learn from."""
    total = Counter(sample.label for sample in samples if sample.quarantine is None)
    train = Counter(sample.label for sample in samples if _is_learned(sample))
    short = [
        label for label in dict.fromkeys(labels) if total[label] < min_images or not train[label]
    ]
    if short:
        detail = (
            f"{len(short)} of the classes have too few images: each needs at least {min_images} different ones, "
            "and one of them to learn from."
        )
        errors = tuple(
            FieldError(
                "/classes",
                _shortage(n_sent.get(label, 0), total[label], train[label]),
                extra={"label": label},
            )
            for label in short[:MAX_NAMED]
        )
        raise Problem("too-few-images", detail, errors=errors)


def _shortage(n_sent: int, n_different: int, n_train: int) -> str:
    if n_sent > 1 and n_different == 1:
        return f"All {n_sent} images of the class are the same picture."
    copies = f", {n_different} of them different" if n_different < n_sent else ""
    return f"The class has {n_sent} images{copies}, {n_train} to learn."


def _check_something_to_learn(samples: Sequence[NewSample]) -> None:
    if any(map(_is_learned, samples)):
        return
    if any(sample.quarantine is None for sample in samples):
        detail = "All images are to be held out: send at least one to learn from."
        raise Problem("too-few-images", detail)
    raise Problem("missing-image")
