"""From uploaded bytes to stored images: every one decoded, checked and kept before the task is acknowledged."""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from typing import Any

from registry.blobs.store import BlobStore
from registry.feedback import FeedbackImage
from registry.growth import ImageKey
from service.intake.decoding import Decoder
from service.intake.forms import ImageForm
from service.intake.placing import RawImage
from service.intake.uploads import Upload
from service.layout.names import AUTO
from service.problems import FieldError, Problem

MAX_NAMED = 100
"""Unusable images named in one refusal."""
BLANK = "blank"
"""Why an image of one colour is kept but not learned: it shows nothing."""


@dataclass(frozen=True)
class ReceivedImage:
    """A usable image of a request. Its canonical form lies in the blob store."""

    raw: RawImage
    width: int
    height: int
    blob_sha256: str = ""
    source_sha256: str | None = None
    """The file as it was sent; None for an image of feedback."""
    feedback: FeedbackImage | None = None
    """What brought it, if it was no upload."""
    quarantine: str | None = None
    """Why it is kept but not used."""

    @property
    def label(self) -> str:
        """What the sender calls it."""
        return self.raw.label

    @property
    def key(self) -> ImageKey:
        """What tells whether the learner has it."""
        return ImageKey(self.label, self.blob_sha256, self.source_sha256)

    @property
    def is_used(self) -> bool:
        """Whether it is to be learned or held out."""
        return self.quarantine is None


@dataclass(frozen=True)
class Received:
    """What came with one request and can be used."""

    images: Sequence[ReceivedImage]
    rejected: Sequence[dict[str, Any]] = ()
    """Images that are left out: `{index, filename, problem}` each."""
    feedback: Sequence[FeedbackImage] = field(default=())
    """What the task takes; its images are among the others."""


@dataclass(frozen=True)
class _Decoded:
    image: ReceivedImage
    png: bytes


@dataclass(frozen=True)
class _Refused:
    raw: RawImage
    problem: Problem


def take_in(
    upload: Upload,
    *,
    decoder: Decoder,
    form: ImageForm,
    owner: Hashable,
    blobs: BlobStore,
    feedback: Sequence[FeedbackImage] = (),
) -> Received:
    """Decode and store the images of an upload. Blocks; never holds more than a few decoded images.

    Uploads of different owners are decoded in turns.

    Images of `feedback` lie in the store already; one that came in the upload too, or twice, is taken once.

    Raises:
        Problem: If an image is unusable and `on_bad_image` is `refuse`, or none is usable. Blobs stored until then are
            not referenced by anything and are collected later.
    """
    refuses = upload.options.on_bad_image == "refuse"
    kept: list[ReceivedImage] = []
    refused: list[_Refused] = []

    def encoded() -> Iterator[bytes]:
        decode = partial(_decode, upload, decoder, form)
        for outcome in decoder.map_upload(decode, upload.images, owner):
            if isinstance(outcome, _Refused):
                refused.append(outcome)
            elif not (refused and refuses):
                kept.append(outcome.image)
                yield outcome.png

    hashes = blobs.put_many(encoded())
    if refused and refuses:
        raise _refusal(refused)
    if not kept and not feedback:
        raise Problem("missing-image", errors=_named(refused))
    images = [replace(image, blob_sha256=blob) for image, blob in zip(kept, hashes, strict=True)]
    rejected = [rejection(item.raw, item.problem.code) for item in refused]
    return Received([*images, *_of_feedback(feedback, images)], rejected, feedback)


def rejection(raw: RawImage, problem: str) -> dict[str, Any]:
    """Return how the answer names an image that was left out."""
    return {"index": raw.index, "filename": raw.filename, "problem": problem}


def _of_feedback(
    feedback: Sequence[FeedbackImage], uploaded: Sequence[ReceivedImage]
) -> Iterator[ReceivedImage]:
    there = {(image.label, image.blob_sha256) for image in uploaded}
    for item in feedback:
        if (item.label, item.blob_sha256) not in there:
            there.add((item.label, item.blob_sha256))
            raw = RawImage(-1, item.filename, item.label, AUTO, 0, 0)
            yield ReceivedImage(raw, item.width, item.height, item.blob_sha256, None, item)


def _decode(
    upload: Upload, decoder: Decoder, form: ImageForm, raw: RawImage
) -> _Decoded | _Refused:
    data = upload.read(raw)
    try:
        image = decoder.decode(data, form)
        if image.is_transparent:
            raise Problem("image-blank")
    except Problem as problem:
        return _Refused(raw, problem)
    height, width = image.pixels.shape[:2]
    received = ReceivedImage(
        raw,
        width,
        height,
        source_sha256=sha256(data).hexdigest(),
        quarantine=BLANK if image.shows_nothing else None,
    )
    return _Decoded(received, image.to_png())


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
