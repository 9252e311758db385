"""Reading general images, and measuring them under a backbone: the work of `filopodia background`."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from models.backbone import Backbone, choose_device, load_backbone
from models.background import Background, add_nothing, fewest_images, measure
from models.background_files import SUFFIX
from models.errors import BackboneError, TaskDataError
from models.nothing import embed_nothing
from service.cli.progress import counted
from service.intake.forms import ImageForm
from service.intake.images import ImageLimits, decode_image
from service.problems import Problem
from service.settings import ServiceSettings

LEAST_PER_CLASS = 30
IMAGES_A_DIMENSION = 10
"""Images that are taken of many: five times the fewest. Of the bundled backbone that is 30 of each of 200 classes; with
all 250 of each, class means told new classes apart as well once the covariance was shrunk by 0.3."""
BATCH = 64


GeneralImage = tuple[Path, str | None]
"""A file, and the class that it shows; None where classes are not known."""


@dataclass(frozen=True)
class Wanted:
    """Of which backbone, and from how many images."""

    backbone: str
    weights: Path | None
    image_size: int | None
    per_class: int | None

    @property
    def folder(self) -> Path:
        """Where its background belongs: beside the weights."""
        if self.weights is None:
            return Path()
        return self.weights if self.weights.is_dir() else self.weights.parent

    @property
    def file_name(self) -> str:
        """What its background is called, for each image size otherwise."""
        size = "" if self.image_size is None else f".{self.image_size}px"
        return f"{self.backbone}{size}{SUFFIX}"


def make_background(
    wanted: Wanted,
    images: Sequence[GeneralImage],
    settings: ServiceSettings,
    skip: Callable[[Path, str], None],
) -> tuple[bytes, Background]:
    """Return the file of a background of some of these images, and what is in it.

    On a terminal a bar shows how far it is.

    Args:
        wanted: Of what.
        images: All there are; those without a label are one class.
        settings: The device, and how large an image may be.
        skip: Told of each file that cannot be used, and why.

    Raises:
        BackboneError: If the backbone cannot be loaded, or takes no images of that size.
        TaskDataError: If there are too few images.
    """
    backbone = load_backbone(
        wanted.backbone,
        weights=wanted.weights,
        image_size=wanted.image_size,
        with_background=False,
    ).to(choose_device(settings.device))
    if wanted.image_size not in (None, backbone.image_size):
        raise BackboneError(
            f"{wanted.backbone} takes images of {backbone.image_size} pixels, and of no other size."
        )
    chosen = select(images, backbone.width_of("token_and_patches"), wanted.per_class)
    limits = ImageLimits(
        settings.max_image_bytes, settings.max_image_pixels, settings.max_decode_bytes
    )
    read = counted(chosen, total=len(chosen), title="Measuring", is_long=True)
    data = measure_images(backbone, read, limits, skip)
    return data, Background.from_bytes(data)


def select(
    images: Sequence[GeneralImage], width: int, per_class: int | None = None
) -> list[GeneralImage]:
    """Return the images to measure. Of each class they come from all over its files: neighbours are often alike.

    Args:
        images: All there are; those without a label are one class.
        width: Numbers that an image becomes.
        per_class: Most images of a class; by default 30, or more until there are ten images for each number.

    Raises:
        TaskDataError: If these are too few.
    """
    by_label: dict[str | None, list[GeneralImage]] = defaultdict(list)
    for image in images:
        by_label[image[1]].append(image)
    n_classes = max(len(by_label), 1)
    most = per_class or max(LEAST_PER_CLASS, -(-IMAGES_A_DIMENSION * width // n_classes))
    chosen = [image for files in by_label.values() for image in _spaced(files, most)]
    least = fewest_images(width, n_classes)
    if len(chosen) < least:
        raise TaskDataError(
            f"{len(chosen):,} images are too few: this backbone makes {width:,} numbers of each, and at least "
            f"{least:,} images are needed for so many."
        )
    return chosen


def measure_images(
    backbone: Backbone,
    images: Iterable[GeneralImage],
    limits: ImageLimits,
    skip: Callable[[Path, str], None],
) -> bytes:
    """Return the file of a background of these images, which are decoded as those of a task are.

    Args:
        backbone: What they are embedded with.
        images: See `select`.
        limits: How large an image may be.
        skip: Told of each file that cannot be used, and why.

    Raises:
        TaskDataError: If too few are left.
    """
    parts: list[Tensor] = [torch.empty(0, backbone.width_of("token_and_patches"))]
    waiting: list[Tensor] = []
    labels: list[str | None] = []
    for path, label in images:
        try:
            waiting.append(_read(backbone, path, limits))
        except Problem as problem:
            skip(path, problem.detail)
            continue
        labels.append(label)
        if len(waiting) == BATCH:
            parts.append(_embed(backbone, waiting))
            waiting = []
    parts += [_embed(backbone, waiting)] if waiting else []
    data = measure(torch.cat(parts), _targets(labels), fingerprint=backbone.fingerprint)
    return add_nothing(data, embed_nothing(backbone, "token_and_patches"))


def _read(backbone: Backbone, path: Path, limits: ImageLimits) -> Tensor:
    """Return an image as the backbone takes it.

    Raises:
        Problem: If the file cannot be read, is no image that is taken, or shows nothing.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Problem("image-undecodable", f"{error.strerror or error}.") from error
    decoded = decode_image(data, limits, ImageForm.looked_at_by(backbone.preprocessing.resize_side))
    if decoded.shows_nothing:
        raise Problem("image-undecodable", "It shows nothing.")
    return backbone.preprocess(decoded.pixels)


def _embed(backbone: Backbone, pixels: Sequence[Tensor]) -> Tensor:
    return backbone.embed(torch.stack(list(pixels)), pooling="token_and_patches").cpu()


def _targets(labels: Sequence[str | None]) -> Tensor | None:
    """Return classes as numbers; None if there are fewer than two, which tell nothing of what is within one."""
    numbers = {label: i for i, label in enumerate(dict.fromkeys(labels))}
    if len(numbers) < 2:
        return None
    return torch.tensor([numbers[label] for label in labels])


def _spaced(files: Sequence[GeneralImage], most: int) -> list[GeneralImage]:
    n = min(most, len(files))
    return [files[i * len(files) // n] for i in range(n)]
