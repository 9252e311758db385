"""From uploaded bytes to stored samples: every image decoded, checked and kept before the task is acknowledged."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from registry.blobs import BlobStore
from registry.samples import NewSample
from service.http.problems import FieldError, Problem
from service.intake.decoding import Decoder
from service.intake.splitting import TRAIN, SplitRequest, assign_splits
from service.intake.uploads import RawImage, Upload
from service.schemas.tasks import TaskOptions

MAX_NAMED = 100
"""Unusable images named in one refusal."""


@dataclass(frozen=True)
class _Decoded:
    raw: RawImage
    png: bytes
    width: int
    height: int


@dataclass(frozen=True)
class _Refused:
    raw: RawImage
    problem: Problem


@dataclass
class Intake:
    """What came of one upload."""

    samples: list[NewSample]
    classes: list[str]
    rejected: list[dict[str, Any]] = field(default_factory=list)

    def count(self, split: str) -> int:
        """Return how many images are in a split."""
        return sum(sample.split == split for sample in self.samples)


def take_in(upload: Upload, *, decoder: Decoder, blobs: BlobStore, min_images: int) -> Intake:
    """Decode and store the images of an upload. Blocks; never holds more than a few decoded images.

    Raises:
        Problem: If an image is unusable and `on_bad_image` is `refuse`, a class has too few images, or one image came
            under two labels. Blobs stored until then are not referenced by anything and are collected later.
    """
    options = upload.options
    kept: list[_Decoded] = []
    refused: list[_Refused] = []

    def encoded() -> Iterator[bytes]:
        for outcome in decoder.map_upload(lambda raw: _decode(upload, decoder, raw), upload.images):
            if isinstance(outcome, _Refused):
                refused.append(outcome)
            elif not (refused and options.on_bad_image == "refuse"):
                kept.append(_Decoded(outcome.raw, b"", outcome.width, outcome.height))
                yield outcome.png

    hashes = blobs.put_many(encoded())
    if refused and options.on_bad_image == "refuse":
        raise _refusal(refused)
    if not kept:
        raise Problem("missing-image", errors=_named(refused))
    _check_contradictions(kept, hashes)
    samples = _split(kept, hashes, options)
    _check_counts(samples, min_images)
    classes = list(dict.fromkeys(sample.label for sample in samples))
    return Intake(samples, classes, [_rejection(item) for item in refused])


def _decode(upload: Upload, decoder: Decoder, raw: RawImage) -> _Decoded | _Refused:
    try:
        image = decoder.decode(upload.read(raw))
        if "blank" in image.warnings:
            raise Problem("image-blank")
    except Problem as problem:
        return _Refused(raw, problem)
    height, width = image.pixels.shape[:2]
    return _Decoded(raw, image.to_png(), width, height)


def _refusal(refused: list[_Refused]) -> Problem:
    detail = (
        f"{len(refused)} of the images cannot be used, so nothing is learned: remove them, "
        "or send `on_bad_image=skip` to learn from the others."
    )
    return Problem("images-rejected", detail, errors=_named(refused))


def _named(refused: list[_Refused]) -> tuple[FieldError, ...]:
    return tuple(
        FieldError(
            f"/images/{item.raw.index}",
            item.problem.detail,
            item.problem.code,
            {"index": item.raw.index, "filename": item.raw.filename},
        )
        for item in refused[:MAX_NAMED]
    )


def _rejection(item: _Refused) -> dict[str, Any]:
    return {
        "index": item.raw.index,
        "filename": item.raw.filename,
        "problem": item.problem.code,
    }


def _check_contradictions(kept: list[_Decoded], hashes: list[str]) -> None:
    labels: dict[str, set[str]] = defaultdict(set)
    for item, blob in zip(kept, hashes, strict=True):
        labels[blob].add(item.raw.label)
    errors = tuple(
        FieldError(f"/images/{item.raw.index}", "The same image came under another label too.")
        for item, blob in zip(kept, hashes, strict=True)
        if len(labels[blob]) > 1
    )
    if errors:
        raise Problem("label-conflict", errors=errors[:MAX_NAMED])


def _split(kept: list[_Decoded], hashes: list[str], options: TaskOptions) -> list[NewSample]:
    requests = [
        SplitRequest(item.raw.label, blob, item.raw.split)
        for item, blob in zip(kept, hashes, strict=True)
    ]
    splits = assign_splits(requests, eval_fraction=options.eval_fraction, seed=options.seed)
    return [
        NewSample(
            label=item.raw.label,
            split=split,
            blob_sha256=blob,
            filename=item.raw.filename,
            width=item.width,
            height=item.height,
        )
        for item, blob, split in zip(kept, hashes, splits, strict=True)
    ]


def _check_counts(samples: list[NewSample], min_images: int) -> None:
    total = Counter(sample.label for sample in samples)
    train = Counter(sample.label for sample in samples if sample.split == TRAIN)
    short = [label for label, n in total.items() if n < min_images or not train[label]]
    if short:
        detail = (
            f"{len(short)} of the classes have too few images: each needs at least {min_images}, "
            "and one of them to learn from."
        )
        errors = tuple(
            FieldError(
                "/classes",
                f"The class has {total[label]} images, {train[label]} to learn.",
                extra={"label": label},
            )
            for label in short[:MAX_NAMED]
        )
        raise Problem("too-few-images", detail, errors=errors)
