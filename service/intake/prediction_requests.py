"""Reading the images of a prediction request in all the forms a client may send them, and decoding them."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain

from fastapi import Request
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from torch import Tensor

from models.backbone import Backbone
from service.http.bodies import limit_body
from service.intake.deadlines import Deadline
from service.intake.decoding import Decoder
from service.intake.forms import ImageForm
from service.intake.images import DecodedImage, Weight
from service.intake.multipart import read_form, refused_part
from service.intake.spool import Spool
from service.intake.uploads import decode_base64
from service.labels import clean_filename
from service.problems import Problem
from service.schemas.predictions import PredictCreate
from service.settings import ServiceSettings
from service.strict_json import media_type, parse_json
from service.validation import field_errors

GROUP_WORK = 500_000.0
"""What images of a request cost at most that are decoded one after the other as one piece of work: some 8 ms, nine
images of 64 x 64 pixels; chosen."""


@dataclass(frozen=True)
class EncodedFile:
    """One image as it came."""

    filename: str | None
    data: bytes


@dataclass(frozen=True)
class Outcome:
    """What became of one image: a row of the stack, or a problem."""

    row: int = -1
    warnings: tuple[str, ...] = ()
    problem: Problem | None = None
    image: DecodedImage | None = None
    """The canonical image, if it is to be kept."""


@dataclass(frozen=True)
class DecodedFiles:
    """The images of a request, ready for the backbone."""

    outcomes: list[Outcome]
    """One for each image, in order."""
    images: list[Tensor]
    """The usable ones, uint8 `(3, S, S)` each; `Outcome.row` points here."""


async def read_images(request: Request, settings: ServiceSettings) -> list[EncodedFile]:
    """Return the encoded images of a request.

    Raises:
        Problem: If the body is none of the forms, too large, or holds no image.
    """
    kind = media_type(request)
    if kind.startswith("image/"):
        limit_body(request, settings.max_image_bytes)
        return [EncodedFile(None, await request.body())]
    if kind == "multipart/form-data":
        return await _read_multipart(request, settings)
    if kind == "application/json":
        return await run_in_threadpool(_read_json, await request.body(), settings)
    raise Problem("unsupported-media-type")


async def _read_multipart(request: Request, settings: ServiceSettings) -> list[EncodedFile]:
    with Spool() as spool:
        form = await read_form(
            request,
            spool,
            max_files=settings.max_predict_images,
            max_fields=0,
            known_fields=frozenset(),
        )
        for part in form.files:
            if part.name != "images":
                raise refused_part(part.name, "Send files as parts `images`.")
        if not form.files:
            raise Problem("missing-image")
        return [
            EncodedFile(clean_filename(part.filename), spool.read(part.offset, part.size))
            for part in form.files
        ]


def _read_json(body: bytes, settings: ServiceSettings) -> list[EncodedFile]:
    try:
        create = PredictCreate.model_validate(parse_json(body))
    except ValidationError as error:
        raise Problem("validation", errors=field_errors(error.errors(), "")) from error
    if len(create.images) > settings.max_predict_images:
        raise Problem("too-many-images")
    return [
        EncodedFile(
            clean_filename(image.filename), decode_base64(image.base64, f"/images/{i}/base64")
        )
        for i, image in enumerate(create.images)
    ]


@dataclass(frozen=True)
class Turn:
    """Who asks for a prediction, what that may cost, and how long it waits."""

    owner: Hashable
    """Whose requests share a turn with this one."""
    deadline: Deadline
    draw: Callable[[float], None] = lambda work: None
    """Takes what decoding costs from what the owner may cause in a minute, or raises."""


@dataclass(frozen=True)
class Preparation:
    """How a file becomes what a version looks at."""

    form: ImageForm
    """Of the learner's images."""
    backbone: Backbone


async def decode_all(
    decoder: Decoder,
    preparation: Preparation,
    files: Sequence[EncodedFile],
    turn: Turn,
    keeps: Callable[[DecodedImage], bool] | None = None,
) -> DecodedFiles:
    """Decode and resize the images on the decoder's threads, once it is known what that costs.

    Args:
        decoder: The threads.
        preparation: What the images are to become.
        files: The images as they came.
        turn: Whose they are.
        keeps: Says of each image whether its pixels are to be kept in its outcome; None keeps none.

    Raises:
        Problem: That of the image, if there is only one; of several, each keeps its own. `too-many-pixels` or
            `rate-limited`, if decoding costs too much; `overloaded`, if they would wait too long, or have.
    """
    try:
        decoded = await _decode_in_time(decoder, preparation, files, turn, keeps)
    except TimeoutError as error:
        raise decoder.overloaded() from error
    outcomes: list[Outcome] = []
    images: list[Tensor] = []
    for item in decoded:
        if isinstance(item, Problem):
            outcomes.append(Outcome(problem=item))
        else:
            tensor, warnings, image = item
            outcomes.append(Outcome(row=len(images), warnings=warnings, image=image))
            images.append(tensor)
    if len(decoded) == 1 and isinstance(decoded[0], Problem):
        raise decoded[0]
    return DecodedFiles(outcomes, images)


_Prepared = tuple[Tensor, tuple[str, ...], DecodedImage | None]


async def _decode_in_time(
    decoder: Decoder,
    preparation: Preparation,
    files: Sequence[EncodedFile],
    turn: Turn,
    keeps: Callable[[DecodedImage], bool] | None,
) -> list[_Prepared | Problem]:
    weighing = decoder.weigh(turn.owner, [file.data for file in files], preparation.form)
    [weighed] = await turn.deadline.gather([weighing])
    weights = [weight for weight in weighed if isinstance(weight, Weight)]
    work = sum(weight.work for weight in weights)
    decoder.require_payable(work)
    turn.draw(work)
    turn.deadline.allow(decoder.require_capacity(turn.owner, weights))
    usable = (
        (weight, file.data)
        for weight, file in zip(weighed, files, strict=True)
        if isinstance(weight, Weight)
    )
    prepare = partial(_prepare, decoder, preparation, keeps)
    groups = await turn.deadline.gather(
        [
            decoder.submit(turn.owner, weight, partial(_prepare_each, prepare, images))
            for weight, images in grouped(usable)
        ]
    )
    decoding = iter(chain.from_iterable(groups))
    return [item if isinstance(item, Problem) else next(decoding) for item in weighed]


def grouped(images: Iterable[tuple[Weight, bytes]]) -> Iterator[tuple[Weight, list[bytes]]]:
    """Put small images that follow one another together: each handing over to a thread costs what decoding one does."""
    group: list[bytes] = []
    total = Weight(0.0, 0.0)
    for weight, data in images:
        if group and total.work + weight.work > GROUP_WORK:
            yield total, group
            group, total = [], Weight(0.0, 0.0)
        group.append(data)
        total = Weight(total.work + weight.work, max(total.n_bytes, weight.n_bytes))
    if group:
        yield total, group


def _prepare_each(
    prepare: Callable[[bytes], _Prepared | Problem], images: Sequence[bytes]
) -> list[_Prepared | Problem]:
    return [prepare(data) for data in images]


def _prepare(
    decoder: Decoder,
    preparation: Preparation,
    keeps: Callable[[DecodedImage], bool] | None,
    data: bytes,
) -> _Prepared | Problem:
    try:
        image = decoder.decode(data, preparation.form)
    except Problem as problem:
        return problem
    kept = image if keeps is not None and keeps(image) else None
    return preparation.backbone.preprocess(image.pixels), image.warnings, kept
