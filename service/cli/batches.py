"""Many images, asked about in as few requests as the service takes."""

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.cli.image_files import read_image, shown, size_of
from service.client import ClientError, Filopodia
from service.remote import replies
from service.remote.prediction_calls import predict_all
from service.remote.prediction_parts import Part

PART_BYTES = 512
"""What a request has around each image, beside its name: boundary and headers."""


@dataclass(frozen=True)
class RequestLimits:
    """How much one request may hold."""

    images: int
    total_bytes: int
    image_bytes: int

    @classmethod
    def of(cls, client: Filopodia) -> "RequestLimits":
        """Ask a service for its limits."""
        limits = client.info()["limits"]
        per_minute = limits.get("predict_images_per_minute") or limits["predict_images"]
        images = min(limits["predict_images"], per_minute)
        return cls(images, limits["predict_bytes"], limits["image_bytes"])


@dataclass(frozen=True)
class Question:
    """What to ask of each image."""

    learner: str
    top: int = 5
    trace: str = "full"
    version: int | None = None
    min_version: int | None = None
    store: bool = True


@dataclass(frozen=True)
class Encoded:
    """An image as it is sent."""

    file: Path
    data: bytes

    @property
    def sent_bytes(self) -> int:
        """What it takes of a request."""
        return len(self.data) + 2 * len(self.file.name) + PART_BYTES


@dataclass(frozen=True)
class Answer:
    """What was answered for one image."""

    file: Path
    result: replies.PredictionResult
    reply: replies.Prediction | None = None
    """All that was answered at once; None for an image that was never sent."""

    @property
    def problem(self) -> str | None:
        """Why there is no answer, in one sentence; None if there is one."""
        problem = self.result.get("problem")
        return None if problem is None else str(problem.get("detail", "It cannot be used."))


def ask_all(
    client: Filopodia, question: Question, files: Iterable[Path], limits: RequestLimits
) -> Iterator[Answer]:
    """Yield the answer for each file, in order. Only the images of one request are in memory.

    Raises:
        ProblemError: If the service refuses a request for another reason than one of its images.
    """
    batch: list[Encoded] = []
    most = limits.images
    for file in files:
        image = _read(file, limits)
        if isinstance(image, Answer) or _is_full(batch, image, most, limits):
            parts = yield from _ask(client, question, batch)
            if len(parts) > 1:  # the next ones are hardly smaller
                most = max(len(part.results) for part in parts)
            batch = []
        if isinstance(image, Answer):
            yield image
        else:
            batch.append(image)
    yield from _ask(client, question, batch)


def _is_full(batch: list[Encoded], image: Encoded, most: int, limits: RequestLimits) -> bool:
    sent_bytes = sum(other.sent_bytes for other in batch) + image.sent_bytes
    return len(batch) >= most or sent_bytes > limits.total_bytes


def _read(file: Path, limits: RequestLimits) -> Encoded | Answer:
    try:
        size = size_of(file)
        data = b"" if size > limits.image_bytes else read_image(file)
    except OSError as error:
        return _unsent(file, "unreadable", f"It cannot be read: {error.strerror or error}.")
    size = max(size, len(data))
    if size > limits.image_bytes:
        has, most = (f"{n / 2**20:.1f} MiB" for n in (size, limits.image_bytes))
        return _unsent(file, "image-too-large", f"It has {has}; the service takes {most} an image.")
    return Encoded(file, data)


def _ask(
    client: Filopodia, question: Question, batch: list[Encoded]
) -> Generator[Answer, None, list[Part]]:
    """Yield the answers for a batch, also those before a failure, and return the parts it was answered in."""
    parts: list[Part] = []
    if not batch:
        return parts
    asking = predict_all(
        question.learner,
        [(shown(Path(image.file.name)), image.data) for image in batch],
        top_k=question.top,
        trace=question.trace,
        version=question.version,
        min_version=question.min_version,
        store=question.store,
        on_part=parts.append,
    )
    try:
        client.ask(asking)
    except ClientError:
        yield from _answers(batch, parts)
        raise
    yield from _answers(batch, parts)
    return parts


def _answers(batch: list[Encoded], parts: list[Part]) -> Iterator[Answer]:
    answered = ((result, part.reply) for part in parts for result in part.results)
    for image, (result, reply) in zip(
        batch, answered, strict=False
    ):  # the later ones may have failed
        yield Answer(image.file, result, reply)


def _unsent(file: Path, code: str, detail: str) -> Answer:
    result: Any = {
        "index": 0,
        "filename": shown(Path(file.name)),
        "problem": {"code": code, "detail": detail},
    }
    return Answer(file, result)
