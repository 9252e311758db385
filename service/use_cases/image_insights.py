"""What a learner's training images say of each other: labels that look wrong, look-alikes, images that pull others.

Found out once a version (`models.insights`), of what the version keeps of its images, so that few are read again: those
that may be near-duplicates, and those of tasks that were consolidated. It speaks of images by their samples, and of
those alone that are still there and still show what they did: what was removed, unlearned or deleted is not named.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from io import BytesIO

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from models.insights import ImageInsights
from models.side_by_side import on_one_thread
from models.strategies.catalog import CATALOG
from registry import corrections, learners, measures, samples
from registry.blobs.store import BlobStore
from registry.errors import BlobDamagedError, BlobMissingError
from registry.postgres.database import Session
from registry.tables import LearnerRow, SampleRow
from service.dependencies import AppContext
from service.inference.insight_kinds import (
    QUANTILES,
    ClassInsights,
    ImagePair,
    JudgedImage,
    LearnerInsights,
    PullingImage,
)
from service.inference.snapshots import Snapshot, VersionAddress
from service.intake.small import make_small
from service.problems import Problem
from service.use_cases.configs import require_strategy
from service.use_cases.kept_images import name_rows
from service.use_cases.review_groups import alike_pictures

MOST_PICTURES = 400
"""Images that are read to tell near-duplicates, those of the nearest pairs first."""


def can_look_into(learner: LearnerRow) -> bool:
    """Whether a learner's strategy can say what it would answer without one of its images."""
    return require_strategy(learner.strategy, learner.config).looks_into_images


def find(
    context: AppContext, learner: LearnerRow, *, wait_s: float, label: str | None, limit: int
) -> LearnerInsights | None:
    """Return what is known of the training images of a learner's head; None while it is being found out.

    Args:
        context: The app's.
        learner: The learner.
        wait_s: How long to wait for it. Of 10,000 images it takes seconds, once a version.
        label: Of the only class to speak of; None for all.
        limit: Most images of each kind.

    Raises:
        Problem: `cannot-look-into`, `nothing-learned`, `version-damaged`.
    """
    if not can_look_into(learner):
        able = ", ".join(each.name for each in CATALOG if each.looks_into_images)
        raise Problem(
            "cannot-look-into",
            f"The strategy {learner.strategy} cannot say what it would answer without one of its images. "
            f"These can: {able}.",
        )
    # Images show what they do with the head, whichever version answers.
    address = None
    if learner.head_version:
        address = context.watcher.find_version(learner.name, learner.head_version)
    if address is None:
        raise Problem("nothing-learned")
    found = context.insights.get(
        address.key, lambda: _compute(context, learner.id, address), wait_s=wait_s
    )
    if found is None:
        return None
    with context.session_factory() as session:
        return _still_true(session, learner, found.of_class(label), limit)


def _compute(context: AppContext, learner_id: str, address: VersionAddress) -> LearnerInsights:
    snapshot = context.store.loaded(address.key) or context.loader.load(address)
    with context.session_factory() as session:
        tasks = samples.train_samples_by_task(session, learner_id, snapshot.strategy.task_indexes_)
        head = learners.get_learner_by_id(session, learner_id).head_version
    if (
        head != snapshot.version
    ):  # a correction came between, and images show what they do with the head
        tasks = {}
    with on_one_thread(), torch.inference_mode():
        found, kept = snapshot.strategy.look_into_images()
    names = name_rows(context, snapshot, kept, found.rows, tasks)
    return _collect(snapshot, found, names, tasks, context.blobs)


def _collect(
    snapshot: Snapshot,
    found: ImageInsights,
    names: Sequence[SampleRow | None],
    tasks: Mapping[int, Sequence[SampleRow]],
    blobs: BlobStore,
) -> LearnerInsights:
    classes = snapshot.strategy.classes_
    known = [row for row, name in enumerate(names) if name is not None]
    judged = {
        row: JudgedImage(
            name.id,
            name.label,
            classes[int(found.answered[row])],
            float(found.own_score[row]),
            float(found.answered_score[row]),
            float(found.novelty[row]),
        )
        for row, name in enumerate(names)
        if name is not None
    }
    nearest = sorted(known, key=lambda row: -float(found.look_alike_cosine[row]))
    pulls = sorted(
        (row for row in found.pulled if row in judged), key=lambda row: -len(found.pulled[row])
    )
    return LearnerInsights(
        snapshot.version,
        sum(map(len, tasks.values())),
        len(known),
        tuple(judged[row] for row in found.suspects.tolist() if row in judged),
        tuple(_pairs(names, ((row, int(found.look_alike[row])) for row in nearest), found)),
        tuple(_duplicates(names, found, blobs)),
        tuple(
            PullingImage(judged[row].sample, judged[row].label, mended)
            for row in pulls
            if (mended := tuple(judged[i] for i in found.pulled[row] if i in judged))
        ),
        tuple(_of_classes(classes, judged.values())),
    )


def _pairs(
    names: Sequence[SampleRow | None], pairs: Iterable[tuple[int, int]], found: ImageInsights
) -> Iterable[ImagePair]:
    for row, other in pairs:
        one, two = names[row], names[other] if other >= 0 else None
        if one is not None and two is not None:
            cosine = float(found.look_alike_cosine[row])
            yield ImagePair(one.id, one.label, two.id, two.label, cosine)


def _duplicates(
    names: Sequence[SampleRow | None], found: ImageInsights, blobs: BlobStore
) -> Iterable[ImagePair]:
    """Yield those pairs whose pictures are alike, too, the nearest first."""
    small: dict[str, NDArray[np.float32] | None] = {}
    cosines = found.pair_cosines.tolist()
    for (row, other), cosine in zip(found.pairs.tolist(), cosines, strict=True):
        one, two = names[row], names[other]
        if one is None or two is None or len(small) >= MOST_PICTURES:
            continue
        pictures = [_small(blobs, each.blob_sha256, small) for each in (one, two)]
        there = [each for each in pictures if each is not None]
        if len(there) == 2 and alike_pictures(np.stack(there))[0, 1]:
            yield ImagePair(one.id, one.label, two.id, two.label, cosine)


def _small(
    blobs: BlobStore, sha256: str, known: dict[str, NDArray[np.float32] | None]
) -> NDArray[np.float32] | None:
    """Return a stored image as a few numbers; None if it is gone."""
    if sha256 not in known:
        try:
            png = blobs.get(sha256)
        except (BlobMissingError, BlobDamagedError):
            known[sha256] = None
        else:
            with Image.open(BytesIO(png)) as picture:
                pixels = np.asarray(picture.convert("RGB"))
            known[sha256] = np.frombuffer(make_small(pixels), dtype=np.uint8).astype(np.float32)
    return known[sha256]


def _of_classes(classes: Sequence[str], judged: Iterable[JudgedImage]) -> Iterable[ClassInsights]:
    by_label: dict[str, list[JudgedImage]] = {label: [] for label in classes}
    for image in judged:
        by_label[image.label].append(image)
    for label, images in by_label.items():
        n_right = sum(image.answered == label for image in images)
        novelty = np.quantile([image.novelty for image in images], QUANTILES) if images else ()
        yield ClassInsights(
            label,
            len(images),
            measures.share(n_right, len(images), len(images)),
            tuple(map(float, novelty)),
        )


def _still_true(
    session: Session, learner: LearnerRow, found: LearnerInsights, limit: int
) -> LearnerInsights:
    """Return what is known of images that are still there and show what they did."""
    most = 2 * limit  # some may be gone
    suspects, pulls = found.suspects[:most], found.pulls[:most]
    look_alikes, duplicates = found.look_alikes[:most], found.duplicates[:most]
    shown = {each.sample: each.label for each in suspects}
    shown |= {each.sample: each.label for each in pulls}
    shown |= {each.sample: each.label for pull in pulls for each in pull.mended}
    for pair in (*look_alikes, *duplicates):
        shown |= {pair.sample: pair.label, pair.other: pair.other_label}
    rows = corrections.samples_of(session, learner.id, list(shown))
    there = {
        sample
        for sample, (_, row) in rows.items()
        if row.label == shown[sample] and row.quarantine is None
    }

    def left(pairs: Iterable[ImagePair]) -> tuple[ImagePair, ...]:
        return tuple(each for each in pairs if {each.sample, each.other} <= there)[:limit]

    mended = [
        replace(each, mended=tuple(one for one in each.mended if one.sample in there))
        for each in pulls
    ]
    return replace(
        found,
        suspects=tuple(each for each in suspects if each.sample in there)[:limit],
        look_alikes=left(look_alikes),
        duplicates=left(duplicates),
        pulls=tuple(each for each in mended if each.sample in there and each.mended)[:limit],
    )
