"""Predictions of more images than one request may hold: asked in parts, halved where that was too much."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from service.remote.calls import Call, Steps
from service.remote.errors import ProblemError
from service.remote.replies import Prediction, PredictionResult
from service.remote.retries import Retries

NamedImage = tuple[str, bytes]
"""File name and encoded image."""


class ImagePrediction(PredictionResult):
    """The answer for one image, with what names it: `give_feedback` takes `prediction` and `index`."""

    prediction: str | None
    """The request that it was answered with; None for an image that was refused."""
    version: int | None
    """What answered it; likewise."""


@dataclass(frozen=True)
class Part:
    """What was answered at once."""

    results: list[PredictionResult]
    reply: Prediction | None
    """The answer whole; None for the only image of a request that was refused, whose result has its `problem`."""


@dataclass(frozen=True)
class InParts:
    """Predictions in as many requests as it takes, asked one after the other; the reply is one part for each.

    A request that holds too much is asked again as two halves. An image that is refused alone gets a `problem` as its
    result, as one of several in a request would.
    """

    call: Callable[[Sequence[NamedImage]], Call[Prediction]]
    """Asks about some of the images."""
    images: Sequence[NamedImage]
    on_part: Callable[[Part], None] | None = None
    """Told of each part as it is answered."""
    body: None = None

    def steps(self, retries: Retries) -> Steps[list[Part]]:
        """Ask, and return the parts in the order of the images.

        Raises:
            ProblemError: If the service refuses a request for another reason than one of its images.
        """
        parts: list[Part] = []
        waiting = [self.images]
        while waiting:
            images = waiting.pop()
            try:
                reply = yield from self.call(images).steps(retries)
            except ProblemError as problem:
                if len(images) > 1 and problem.is_of_size:
                    middle = len(images) // 2
                    waiting += [images[middle:], images[:middle]]
                elif len(images) == 1 and (problem.is_of_size or problem.is_of_image):
                    self._note(parts, Part([_refused(images[0], problem)], None))
                else:
                    raise
            else:
                self._note(parts, Part(reply["results"], reply))
        return parts

    def _note(self, parts: list[Part], part: Part) -> None:
        parts.append(part)
        if self.on_part is not None:
            self.on_part(part)


def image_predictions(parts: Sequence[Part]) -> list[ImagePrediction]:
    """Return the answers of all parts, one for each image."""
    return [
        {
            **result,
            "prediction": part.reply["id"] if part.reply else None,
            "version": part.reply["version"] if part.reply else None,
        }
        for part in parts
        for result in part.results
    ]


def _refused(image: NamedImage, problem: ProblemError) -> PredictionResult:
    result: Any = {
        "index": 0,
        "filename": image[0],
        "problem": {"code": problem.code, "detail": problem.detail},
    }
    refused: PredictionResult = result
    return refused
