"""From uploaded bytes to stored samples: every image decoded, checked and kept before the task is acknowledged."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from registry.blobs import BlobStore
from registry.feedback import FeedbackImage
from registry.samples import NewSample
from service.http.problems import FieldError, Problem
from service.intake.decoding import Decoder
from service.intake.splitting import AUTO, TRAIN, SplitRequest, assign_splits
from service.intake.uploads import RawImage, Upload
from service.schemas.tasks import TaskOptions

MAX_NAMED = 100
"""Unusable images named in one refusal."""
BLANK = "blank"
"""Why an image of one colour is kept but not learned: it shows nothing."""


@dataclass(frozen=True)
class _Decoded:
    raw: RawImage
    png: bytes
    width: int
    height: int
    feedback: FeedbackImage | None = None
    """What brought it, if it was no upload."""
    quarantine: str | None = None


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
    feedback: Sequence[FeedbackImage] = ()
    """What the task takes; its images are among the samples."""
    sources: list[_Decoded] = field(default_factory=list)
    """Where each sample comes from, in the same order."""

    def count(self, split: str) -> int:
        """Return how many images are in a split, without those in quarantine."""
        return sum(s.split == split and s.quarantine is None for s in self.samples)

    @property
    def quarantined(self) -> list[dict[str, Any]]:
        """Name the images that are kept but not used."""
        return [
            {"index": item.raw.index, "filename": item.raw.filename, "reason": item.quarantine}
            for item in self.sources
            if item.quarantine is not None
        ]

    @property
    def n_duplicates(self) -> int:
        """Count images that came more than once, without the first. Each copy is learned, on the same side."""
        used = [(s.label, s.blob_sha256) for s in self.samples if s.quarantine is None]
        return len(used) - len(set(used))


def take_in(
    upload: Upload,
    *,
    decoder: Decoder,
    blobs: BlobStore,
    min_images: int,
    feedback: Sequence[FeedbackImage] = (),
) -> Intake:
    """Decode and store the images of an upload. Blocks; never holds more than a few decoded images.

    Images of `feedback` lie in the store already; one that came in the upload too, or twice, is taken once.

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
                kept.append(replace(outcome, png=b""))
                yield outcome.png

    hashes = blobs.put_many(encoded())
    if refused and options.on_bad_image == "refuse":
        raise _refusal(refused)
    if not kept and not feedback:
        raise Problem("missing-image", errors=_named(refused))
    _add_feedback(feedback, kept, hashes)
    _check_contradictions(kept, hashes)
    samples = _split(kept, hashes, options)
    _check_counts(samples, min_images)
    return Intake(
        samples, _classes(samples), [_rejection(item) for item in refused], feedback, kept
    )


def settle_conflicts(
    intake: Intake, elsewhere: Mapping[str, str], options: TaskOptions, *, min_images: int
) -> Intake:
    """Refuse or leave out images that the learner has under another label already.

    Args:
        intake: What came of an upload.
        elsewhere: Blob of each such image, with the name of that other class.
        options: `on_bad_image` says whether to refuse or to leave out.
        min_images: Least images a class.

    Raises:
        Problem: `label-conflict`; `too-few-images`, if too few are left of a class.
    """
    pairs = list(zip(intake.samples, intake.sources, strict=True))

    def conflicts(sample: NewSample) -> bool:
        return sample.quarantine is None and sample.blob_sha256 in elsewhere

    conflicting = [(s, item) for s, item in pairs if conflicts(s)]
    if not conflicting:
        return intake
    if options.on_bad_image == "refuse":
        errors = tuple(_conflict(item, elsewhere[s.blob_sha256]) for s, item in conflicting)
        detail = (
            f"The learner has {len(errors)} of the images under another label: `errors` names it. Remove them, or send "
            "`on_bad_image=skip` to learn from the others."
        )
        raise Problem("label-conflict", detail, errors=errors[:MAX_NAMED])
    left = [(s, item) for s, item in pairs if not conflicts(s)]
    samples = [s for s, _ in left]
    _check_counts(samples, min_images, {s.label for s in intake.samples})
    rejected = [
        {"index": item.raw.index, "filename": item.raw.filename, "problem": "label-conflict"}
        for _, item in conflicting
        if item.feedback is None
    ]
    skipped = {id(item.feedback) for _, item in conflicting}
    return Intake(
        samples,
        _classes(samples),
        [*intake.rejected, *rejected],
        [given for given in intake.feedback if id(given) not in skipped],
        [item for _, item in left],
    )


def _add_feedback(
    feedback: Sequence[FeedbackImage], kept: list[_Decoded], hashes: list[str]
) -> None:
    there = {(item.raw.label, blob) for item, blob in zip(kept, hashes, strict=True)}
    for item in feedback:
        if (item.label, item.blob_sha256) not in there:
            there.add((item.label, item.blob_sha256))
            raw = RawImage(-1, item.filename, item.label, AUTO, 0, 0)
            kept.append(_Decoded(raw, b"", item.width, item.height, item))
            hashes.append(item.blob_sha256)


def _decode(upload: Upload, decoder: Decoder, raw: RawImage) -> _Decoded | _Refused:
    try:
        image = decoder.decode(upload.read(raw))
        if image.is_transparent:
            raise Problem("image-blank")
    except Problem as problem:
        return _Refused(raw, problem)
    height, width = image.pixels.shape[:2]
    quarantine = BLANK if image.shows_nothing else None
    return _Decoded(raw, image.to_png(), width, height, quarantine=quarantine)


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
        if item.quarantine is None:
            labels[blob].add(item.raw.label)
    errors = tuple(
        _contradiction(item)
        for item, blob in zip(kept, hashes, strict=True)
        if len(labels[blob]) > 1
    )
    if errors:
        raise Problem("label-conflict", errors=errors[:MAX_NAMED])


def _contradiction(item: _Decoded) -> FieldError:
    return _at(item, "The same image came under another label too.", {})


def _conflict(item: _Decoded, other: str) -> FieldError:
    detail = "The learner has the same image under another label."
    return _at(item, detail, {"filename": item.raw.filename, "label": other})


def _at(item: _Decoded, detail: str, extra: dict[str, Any]) -> FieldError:
    if item.feedback is None:
        return FieldError(f"/images/{item.raw.index}", detail, extra=extra)
    named = {"prediction": item.feedback.prediction_id, "index": item.feedback.index}
    return FieldError("/options/from_feedback", detail, extra={**named, **extra})


def _classes(samples: Sequence[NewSample]) -> list[str]:
    return list(dict.fromkeys(s.label for s in samples if s.quarantine is None))


def _split(kept: list[_Decoded], hashes: list[str], options: TaskOptions) -> list[NewSample]:
    requests = [
        SplitRequest(item.raw.label, blob, item.raw.split)
        for item, blob in zip(kept, hashes, strict=True)
        if item.quarantine is None
    ]
    splits = iter(assign_splits(requests, eval_fraction=options.eval_fraction, seed=options.seed))
    return [
        NewSample(
            label=item.raw.label,
            split=next(splits) if item.quarantine is None else TRAIN,
            blob_sha256=blob,
            filename=item.raw.filename,
            width=item.width,
            height=item.height,
            quarantine=item.quarantine,
        )
        for item, blob in zip(kept, hashes, strict=True)
    ]


def _check_counts(
    samples: list[NewSample], min_images: int, labels: Iterable[str] | None = None
) -> None:
    """Refuse if a class, of `labels` or of the samples, has too few images that are not in quarantine."""
    used = [sample for sample in samples if sample.quarantine is None]
    total = Counter(sample.label for sample in used)
    train = Counter(sample.label for sample in used if sample.split == TRAIN)
    wanted = dict.fromkeys(labels if labels is not None else (s.label for s in samples))
    short = [label for label in wanted if total[label] < min_images or not train[label]]
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
