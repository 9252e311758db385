"""What the decoder makes of a folder of images that others made to break decoders: every one read or refused by name.

    python -m benchmarks.public_images --folder pillow-13.0.0/Tests/images pillow_heif-1.8.1/tests/images

Pillow's and pillow-heif's source distributions hold such folders (`pip download --no-deps --no-binary :all: pillow`).
What is read is compared with Pillow's own `exif_transpose` and `convert("RGB")` on white, shrunk in the same way.
"""

import argparse
import json
import warnings
from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pillow_heif
from numpy.typing import NDArray
from PIL import Image, ImageOps

from service.intake.deep_png import is_deep
from service.intake.formats import detect
from service.intake.forms import REDUCING_GAP, RESAMPLED, RESAMPLED_SIDE
from service.intake.images import DecodedImage, ImageLimits, decode_image
from service.problems import Problem
from service.settings import ServiceSettings

NEAR = 1.0
"""Mean difference, in levels of 256, up to which a shrunken image counts as equal."""


def main() -> None:
    """Decode every file below the folders and print, or write, what became of them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, nargs="+", required=True, help="folders of images")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    pillow_heif.register_heif_opener(thumbnails=False)
    report = sweep([path for folder in arguments.folder for path in _files(folder)])
    text = json.dumps(report, indent=1) + "\n"
    if arguments.out:
        arguments.out.write_text(text)
    else:
        print(text)  # noqa: T201


def sweep(paths: list[Path]) -> dict[str, Any]:
    """Decode files.

    Returns:
        Counts of formats read and of refusals, and by name the images that are not Pillow's, with the reason for it.
    """
    fields = ServiceSettings.model_fields
    limits = ImageLimits(
        fields["max_image_bytes"].default,
        fields["max_image_pixels"].default,
        fields["max_decode_bytes"].default,
    )
    read: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    refused_though_pillow_reads: dict[str, str] = {}
    differing: dict[str, str] = {}
    scaled: dict[str, str] = {}
    for path in paths:
        data = path.read_bytes()
        format = detect(data) or "other"
        try:
            decoded = decode_image(data, limits, RESAMPLED)
        except Problem as problem:
            refused[problem.code] += 1
            if format != "other" and expected_pixels(data) is not None:
                refused_though_pillow_reads[path.name] = problem.detail
            continue
        read[format] += 1
        if difference := compare(decoded, data):
            (scaled if has_deep_values(data) else differing)[path.name] = difference
    return {
        "command": "python -m benchmarks.public_images --folder pillow/Tests/images pillow_heif/tests/images",
        "pillow": PIL.__version__,
        "pillow_heif": pillow_heif.__version__,
        "files": len(paths),
        "read": dict(sorted(read.items())),
        "refused": dict(sorted(refused.items())),
        "refused_though_pillow_reads": refused_though_pillow_reads,
        "differing": differing,
        "scaled_by_their_bits": scaled,
    }


def compare(decoded: DecodedImage, data: bytes) -> str | None:
    """Return in words how a decoded image differs from what Pillow gives; None if it does not."""
    expected = expected_pixels(data)
    if expected is None:
        return "Pillow cannot read it"
    if expected.shape != decoded.pixels.shape:
        return f"{decoded.pixels.shape} instead of {expected.shape}"
    apart = np.abs(expected.astype(int) - decoded.pixels)
    is_whole = min(expected.shape[:2]) < RESAMPLED_SIDE
    if apart.mean() <= (0 if is_whole else NEAR):
        return None
    return f"mean {apart.mean():.2f}, largest {apart.max()}"


def has_deep_values(data: bytes) -> bool:
    """Return whether an image has more than 8 bits a channel, which Pillow clips or cuts and we scale."""
    try:
        with Image.open(BytesIO(data)) as image:
            return image.mode.startswith("I") or (image.format == "PNG" and is_deep(data))
    except (OSError, ValueError, SyntaxError):
        return False


def expected_pixels(data: bytes) -> NDArray[np.uint8] | None:
    """Return the image as Pillow reads it: upright, on white, shrunk; None if it does not."""
    try:
        with Image.open(BytesIO(data)) as image:
            upright = ImageOps.exif_transpose(image)
            rgb = _on_white(upright)
    except (OSError, ValueError, SyntaxError, TypeError, Image.DecompressionBombError):
        return None
    size = RESAMPLED.final_size(rgb.size)
    if size != rgb.size:
        rgb = rgb.resize(size, Image.Resampling.LANCZOS, reducing_gap=REDUCING_GAP)
    return np.asarray(rgb)


def _on_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    rgba = image.convert("RGBA")
    white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, rgba).convert("RGB")


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


if __name__ == "__main__":
    main()
