"""Rows 1 to 38: images."""

import struct

import numpy as np
from PIL import Image

from service.intake.forms import HALVED
from service.intake.images import ImageLimits, decode_image
from tests.factories import make_image, make_pixels
from tests.service.bad_images import (
    ACCEPTED,
    AVIF,
    HEIC,
    JPEG,
    REFUSED,
    animated,
    encoded,
    noise,
)
from tests.service.catalogue.rows import Row, accepted, both, fine, refused
from tests.service.catalogue.wire import MARKER

LIMITS = ImageLimits(48 * 1024 * 1024, 100_000_000)
UNSUPPORTED = "image-format-unsupported"
PADDING = bytes(200)
FOREIGN = {
    "video": b"\0\0\0\x18ftypmp42" + PADDING,
    "raw file of a camera": b"\0\0\0\x18ftypcrx " + PADDING,
    "pointer of git lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n",
    "jpeg 2000": encoded(noise(), "JPEG2000"),
    "ico": encoded(noise(), "ICO"),
    "psd": b"8BPS\0\1" + PADDING,
    "fits": b"SIMPLE  =                    T" + b" " * 200,
    "tga": encoded(noise(), "TGA"),
    "wmf": b"\xd7\xcd\xc6\x9a\0\0" + PADDING,
}


def _tiff_pages():
    pages = [Image.fromarray(make_pixels(index=i)) for i in range(200)]
    return encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:])


def _tiff_of_nan():
    return encoded(Image.fromarray(np.full((32, 32), np.nan, np.float32)), "TIFF")


def _oriented(orientation):
    exif = Image.Exif()
    exif[274] = orientation
    return encoded(noise().crop((0, 0, 64, 32)), "PNG", exif=exif)


def _turned():
    return encoded(Image.fromarray(np.rot90(np.asarray(noise().crop((0, 0, 64, 32))), -1)), "PNG")


def _same_scores_as(data):
    def check(wire, answer):
        other = wire.predict(data).json()["results"][0]
        found = answer.json()["results"][0]
        assert found["top"] == other["top"]

    return check


def _has_warning(text):
    def check(wire, answer):
        assert text in answer.json()["results"][0]["warnings"]

    return check


def _is_scaled(wire, answer):
    assert decode_image(ACCEPTED["16-bit grey"], LIMITS, HALVED).pixels[0, 0].tolist() == [156] * 3


def _is_on_white(wire, answer):
    """The hidden colour of what is transparent makes no difference."""
    _same_scores_as(encoded(Image.new("RGB", (32, 32), "white"), "PNG"))(wire, answer)


def _is_stored_anew(wire, answer):
    """What is served is a PNG of ours, without the archive that hung on the JPEG."""
    task = answer.json()["id"]
    samples = wire.send("GET", f"/v1/tasks/{task}/samples").json()["items"]
    for sample in samples:
        image = wire.send("GET", f"/v1/samples/{sample['id']}/image")
        assert image.headers["content-type"] == "image/png"
        assert image.headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in image.headers["content-security-policy"]
        assert image.body.startswith(b"\x89PNG")
        assert b"PK\x03\x04" not in image.body


def _one_duplicate(wire, answer):
    assert answer.json()["duplicates"] == 1


def _one_blank(wire, answer):
    samples = wire.send("GET", f"/v1/tasks/{answer.json()['id']}/samples").json()["items"]
    assert [s["quarantine"] for s in samples].count("blank") == 2


def _under_two_labels(wire):
    images = [(label, make_image("heron", i)) for label in ("heron", "egret") for i in range(3)]
    files = [("images", (f"{label}/{i}.png", data)) for i, (label, data) in enumerate(images)]
    return wire.send("POST", f"/v1/learners/{wire.new_learner()}/tasks", files=files)


def _under_another_label_later(wire):
    """The images that `taught` knows as herons come again as something else."""
    files = [("images", (f"stork/{i}.png", make_image("heron", i))) for i in range(3)]
    return wire.send("POST", f"/v1/learners/{wire.taught}/tasks", files=files)


def _covered_lens():
    dark = np.random.default_rng(0).normal(8, 3, (64, 64, 3))
    return Image.fromarray(np.clip(dark, 0, 255).astype(np.uint8))


RED = Image.new("RGBA", (32, 32), (255, 0, 0, 0))
EXIF_GARBAGE = encoded(noise(), "PNG", exif=b"II*\0" + struct.pack("<I", 8) + b"\xff" * 60)


def _many(name: str, variants: list[Row]) -> Row:
    return name, [case for _, cases in variants for case in cases]


ROWS: dict[int, Row] = {
    1: both("zero bytes", b"", "image-empty"),
    2: both("one byte", b"\xff", "image-undecodable"),
    3: both("text named .jpg", f"{MARKER} long enough to be sniffed".encode(), UNSUPPORTED),
    4: both("html", f"<!doctype html><script>{MARKER}</script>".encode(), UNSUPPORTED),
    5: both(
        "svg with a script",
        f'<svg xmlns="http://www.w3.org/2000/svg"><script>{MARKER}</script></svg>'.encode(),
        UNSUPPORTED,
    ),
    6: both("pdf", b"%PDF-1.7 " + PADDING, UNSUPPORTED),
    7: both("eps", REFUSED["eps"][0], UNSUPPORTED),
    8: _many(
        "heic and avif",
        [
            fine("heic", HEIC),
            fine("avif", AVIF),
            both("heic header only", REFUSED["heic header only"][0], "image-undecodable"),
            both("heic cut in half", HEIC[: len(HEIC) // 2], "image-truncated"),
            both("avif cut in half", AVIF[: len(AVIF) // 2], "image-truncated"),
        ],
    ),
    9: _many("other formats", [both(name, data, UNSUPPORTED) for name, data in FOREIGN.items()]),
    10: both("jpeg cut in half", JPEG[: len(JPEG) // 2], "image-truncated"),
    11: both("jpeg without its end", JPEG[:-2], "image-truncated"),
    12: both("jpeg header only", JPEG[:20], "image-undecodable"),
    13: _many(
        "jpeg with flipped bits, jpeg of 1,000 scans",
        [
            both("bits", REFUSED["jpeg with flipped bits"][0], "image-corrupt"),
            both("scans", REFUSED["jpeg of 1,000 scans"][0], "image-corrupt"),
        ],
    ),
    14: both("png with a bad checksum", REFUSED["png with a bad checksum"][0], "image-corrupt"),
    15: both("png with missing rows", REFUSED["png with missing rows"][0], "image-truncated"),
    16: both("png 0 x 0", REFUSED["png 0 x 0"][0], "image-undecodable"),
    17: both("png 60,000 x 60,000", REFUSED["png 60,000 x 60,000"][0], "image-too-many-pixels"),
    18: both("png 12,000 x 12,000", REFUSED["png 12,000 x 12,000"][0], "image-too-many-pixels"),
    19: _many(
        "9,000 x 9,000",
        [
            both("png of 64 rows", REFUSED["png 9,000 x 9,000 with 64 rows"][0], "image-truncated"),
            both("webp", REFUSED["webp of 36 megapixels"][0], "image-too-many-pixels"),
        ],
    ),
    20: both("png 4294967295 x 1", REFUSED["png 4294967295 x 1"][0], "image-too-many-pixels"),
    21: both("png 1 x 100,000", REFUSED["png 1 x 100,000"][0], "image-bad-dimensions"),
    22: both("png 1 x 1", REFUSED["png 1 x 1"][0], "image-too-small"),
    23: _many(
        "png text bombs of 200 MB",
        [
            both("zTXt", REFUSED["png text bomb"][0], "image-corrupt"),
            both("iTXt", REFUSED["png text bomb in UTF-8"][0], "image-corrupt"),
        ],
    ),
    24: _many(
        "colour profiles",
        [
            fine("bogus", ACCEPTED["bogus colour profile"]),
            fine("bomb of 200 MB", ACCEPTED["colour profile bomb"]),
            fine("bogus, of a cmyk jpeg", ACCEPTED["bogus cmyk profile"]),
        ],
    ),
    25: fine("gif of 500 frames", animated("GIF", 500), _has_warning("first_frame_used")),
    26: _many(
        "animated webp and png",
        [
            fine("webp", ACCEPTED["animated webp"], _has_warning("first_frame_used")),
            fine("png", ACCEPTED["animated png"], _has_warning("first_frame_used")),
        ],
    ),
    27: _many(
        "tiff",
        [
            both("200 pages", _tiff_pages(), UNSUPPORTED),
            both("of NaN", _tiff_of_nan(), UNSUPPORTED),
        ],
    ),
    28: _many(
        "jpegs of cameras",
        [
            fine("cmyk", ACCEPTED["cmyk jpeg"]),
            fine("several in one file", ACCEPTED["mpo"], _has_warning("first_frame_used")),
            fine("motion photo", ACCEPTED["motion photo"], _same_scores_as(JPEG)),
        ],
    ),
    29: fine("16-bit grey", ACCEPTED["16-bit grey"], _is_scaled),
    30: fine("palette with transparency", ACCEPTED["palette with transparency"]),
    31: (
        "fully transparent",
        [
            accepted(
                "P", lambda wire: wire.predict(encoded(RED, "PNG")), 200, then=_has_warning("blank")
            ),
            accepted("P", lambda wire: wire.predict(encoded(RED, "PNG")), 200, then=_is_on_white),
            *both("U", encoded(RED, "PNG"), "image-blank")[1][1:],
        ],
    ),
    32: (
        "one colour",
        [
            accepted(
                "P",
                lambda wire: wire.predict(encoded(Image.new("RGB", (32, 32), "red"), "PNG")),
                200,
                then=_has_warning("blank"),
            ),
            accepted(
                "P, nearly",
                lambda wire: wire.predict(encoded(_covered_lens(), "PNG")),
                200,
                then=_has_warning("little_detail"),
            ),
            accepted(
                "U",
                lambda wire: wire.upload(
                    encoded(Image.new("RGB", (32, 32), "red"), "PNG"),
                    encoded(Image.new("RGB", (32, 32), "blue"), "PNG"),
                ),
                202,
                then=_one_blank,
            ),
        ],
    ),
    33: fine("exif orientation 6", _oriented(6), _same_scores_as(_turned())),
    34: _many(
        "exif nobody can read",
        [
            fine("orientation 99", _oriented(99), _same_scores_as(_oriented(1))),
            fine("corrupt", ACCEPTED["corrupt exif"]),
            fine("garbage in a png", EXIF_GARBAGE),
        ],
    ),
    35: (
        "jpeg with a zip behind it",
        [
            accepted("P", lambda wire: wire.predict(ACCEPTED["jpeg with a zip behind it"]), 200),
            accepted(
                "U",
                lambda wire: wire.upload(ACCEPTED["jpeg with a zip behind it"]),
                202,
                then=_is_stored_anew,
            ),
        ],
    ),
    36: (
        "the same image twice",
        [
            accepted(
                "U",
                lambda wire: wire.upload(make_image("heron", 1)),
                202,
                then=_one_duplicate,
            )
        ],
    ),
    37: (
        "the same image under another class",
        [
            refused("in one request", _under_two_labels, "label-conflict"),
            refused("in a later request", _under_another_label_later, "label-conflict"),
        ],
    ),
    38: (
        "image of 60 MB",
        [
            refused("P", lambda wire: wire.predict(JPEG + bytes(60_000_000)), "body-too-large"),
        ],
    ),
}
