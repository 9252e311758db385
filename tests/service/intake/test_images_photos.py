"""Photos as cameras and phones make them: sizes, formats, orientation, colour and depth."""

import contextlib
import io
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from matplotlib.cbook import get_sample_data
from PIL import Image, ImageCms, ImageOps
from sklearn.datasets import load_sample_images

from service.intake.formats import describe_foreign
from service.intake.forms import HALVED, RESAMPLED, RESAMPLED_SIDE, ImageForm
from service.intake.images import ImageLimits, decode_image
from service.intake.jpeg import read_structure
from service.problems import Problem
from tests.factories import make_pixels
from tests.service.bad_images import ACCEPTED, JPEG, encoded, heic, noise, png_of, png_with

LIMITS = ImageLimits(48 * 1024 * 1024, 100_000_000)
LOSSLESS = {
    "PNG": {},
    "WEBP": {"lossless": True},
    "BMP": {},
    "GIF": {},
    "JPEG": {"quality": 90},
    "MPO": {"quality": 90},
    "AVIF": {"quality": 90, "speed": 10},
}
MODES = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA"),
    "WEBP": ("RGB", "RGBA"),
    "BMP": ("1", "L", "P", "RGB"),
    "GIF": ("1", "L", "P"),
    "JPEG": ("L", "RGB", "CMYK"),
    "AVIF": ("L", "RGB", "RGBA"),
}


def as_pillow(data: bytes) -> np.ndarray:
    """Return what Pillow gives by itself: upright, on white."""
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    if not upright.has_transparency_data:
        return np.asarray(upright.convert("RGB"))
    rgba = upright.convert("RGBA")
    white = Image.new("RGBA", rgba.size, "white")
    return np.asarray(Image.alpha_composite(white, rgba).convert("RGB"))


def photo(index: int, width: int, height: int) -> Image.Image:
    """Return one of scikit-learn's two photos, resized."""
    return Image.fromarray(load_sample_images().images[index]).resize((width, height))


def refusal(data: bytes, limits: ImageLimits = LIMITS) -> Problem:
    with pytest.raises(Problem) as caught:
        decode_image(data, limits, HALVED)
    return caught.value


def difference(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    assert found.shape == expected.shape
    return np.abs(found.astype(int) - expected)


@pytest.mark.parametrize("format", LOSSLESS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_pillows(format, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = photo(0, 64, 40)
    kept = {} if format in ("BMP", "GIF") else {"exif": exif}
    data = encoded(image, format, **LOSSLESS[format], **kept)
    assert np.array_equal(decode_image(data, LIMITS, HALVED).pixels, as_pillow(data))


@pytest.mark.parametrize(
    ("format", "mode"), [(format, mode) for format, modes in MODES.items() for mode in modes]
)
def test_every_mode_is_pillows(format, mode):
    image = photo(1, 80, 60)
    if mode in ("LA", "RGBA"):
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    data = encoded(image.convert(mode), format)
    assert np.array_equal(decode_image(data, LIMITS, HALVED).pixels, as_pillow(data))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_heic_is_what_was_photographed(mode):
    image = photo(0, 96, 64)
    if mode == "RGBA":
        image.putalpha(128)
    image = image.convert(mode)
    expected = as_pillow(encoded(image, "PNG"))
    assert (
        difference(decode_image(heic(image, quality=90), LIMITS, HALVED).pixels, expected).mean()
        < 4
    )


def test_heic_of_ten_bits_and_turned():
    values = np.asarray(photo(0, 48, 64)).astype(np.uint16) * 257
    buffer = io.BytesIO()
    pillow_heif.from_bytes("RGB;16", (48, 64), values.tobytes()).save(buffer, quality=90)
    pixels = decode_image(buffer.getvalue(), LIMITS, HALVED).pixels
    assert difference(pixels, np.asarray(photo(0, 48, 64))).mean() < 4
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = decode_image(
        heic(photo(0, 64, 48), exif=exif.tobytes(), quality=90), LIMITS, HALVED
    ).pixels
    assert difference(turned, np.rot90(np.asarray(photo(0, 64, 48)), -1)).mean() < 4


@pytest.mark.parametrize("path", ["grace_hopper.jpg", "logo2.png", "Minduka_Present_Blue_Pack.png"])
def test_the_images_of_matplotlib_are_pillows(path):
    data = Path(get_sample_data(path, asfileobj=False)).read_bytes()
    pixels = decode_image(data, LIMITS, HALVED).pixels
    expected = as_pillow(data)
    if pixels.shape != expected.shape:
        factors = HALVED.factors((expected.shape[1], expected.shape[0]))
        expected = np.asarray(Image.fromarray(expected).reduce(factors))
    assert difference(pixels, expected).mean() < 1


@pytest.mark.parametrize("form", [HALVED, RESAMPLED])
@pytest.mark.parametrize(
    ("format", "size"), [("JPEG", (4032, 3024)), ("PNG", (2600, 2400)), ("WEBP", (2600, 2400))]
)
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_large_image_is_nearly_what_shrinking_all_of_it_gives(form, format, size, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(photo(0, *size), format, exif=exif)
    expected = shrunken(Image.fromarray(as_pillow(data)), form)
    apart = difference(decode_image(data, LIMITS, form).pixels, np.asarray(expected))
    assert apart.mean() < 1
    assert apart.max() < 24


def shrunken(whole: Image.Image, form: ImageForm) -> Image.Image:
    """Return what Pillow makes of a whole image by itself, in the size of a form."""
    size = form.final_size(whole.size)
    if form.halved_to is not None:
        return whole.reduce(form.factors(whole.size))
    return whole.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)


@pytest.mark.parametrize("form", [HALVED, RESAMPLED])
def test_strips_give_the_very_pixels_of_the_whole_image(form):
    image = photo(1, 3001, 2503).convert("P")
    pixels = decode_image(encoded(image, "PNG", compress_level=1), LIMITS, form).pixels
    assert np.array_equal(pixels, np.asarray(shrunken(image.convert("RGB"), form)))


@pytest.mark.parametrize("form", [HALVED, RESAMPLED])
@pytest.mark.parametrize("size", [(11_500, 8_690), (16_382, 3_900)])
def test_a_jpeg_of_a_hundred_megapixels_and_a_panorama_are_read(size, form):
    data = encoded(Image.linear_gradient("L").resize(size), "JPEG")
    pixels = decode_image(data, LIMITS, form).pixels
    least = RESAMPLED_SIDE if form is RESAMPLED else form.halved_to
    assert least <= min(pixels.shape[:2]) < 2 * least
    assert pixels[5].mean() < 10
    assert pixels[-5].mean() > 245


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (
            png_of(11_000, 10_000),
            r"The PNG has 110 megapixels \(11,000 x 10,000\): at most 100 are",
        ),
        (
            encoded(Image.new("RGB", (6000, 6000)), "WEBP", method=0),
            r"The WebP has 36 megapixels \(6,000 x 6,000\): at most 30 are read\.",
        ),
        (png_of(9, 2000), "The PNG has 9 x 2,000 pixels: a side may have 20,000, and"),
        (encoded(Image.new("L", (5, 9)), "GIF"), "The GIF has 5 x 9 pixels: each side needs at le"),
        (JPEG + bytes(50_331_649), r"The JPEG has 48\.\d MiB: at most 48 are read"),
        (
            encoded(noise(), "TIFF"),
            "The file is a TIFF or a camera's raw file. Send JPEG, PNG, WebP,",
        ),
        (JPEG[:-200], "The JPEG ends before the image does"),
    ],
)
def test_a_refusal_names_format_limit_and_what_was_found(data, sentence):
    assert re.match(sentence, refusal(data).detail)


def test_a_progressive_jpeg_may_have_what_its_buffers_allow():
    data = encoded(noise(512), "JPEG", progressive=True, subsampling=0)
    structure = read_structure(data)
    assert structure.is_buffered
    assert structure.buffer_bytes_per_pixel == 6
    tight = ImageLimits(LIMITS.max_bytes, LIMITS.max_pixels, 1_000_000)
    problem = refusal(data, tight)
    assert problem.code == "image-too-many-pixels"
    assert "progressive JPEG" in problem.detail
    decode_image(encoded(noise(256), "JPEG", progressive=True, subsampling=0), tight, HALVED)


@pytest.mark.parametrize(
    ("magic", "name"),
    [
        (b"II*\0\x08\0\0\0CR\x02\0", "CR2"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1", "CR3"),
        (b"\0\0\0\x18ftypqt  \0\0\0\1", "video"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"8BPS\0\1\0\0\0\0\0\0", "Photoshop"),
        (b"PK\x03\x04" + bytes(20), "zip"),
        (b"\n<?xml version='1.0'?>\n<svg width='1'>", "SVG"),
        (b"<!DOCTYPE html><p>404</p>", "HTML"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        ("Vögel und Küken".encode(), "text"),
        (b"\0\x05\x16\x07\0\2\0\0Mac OS X", "macOS"),
        (bytes(range(128, 160)), ""),
    ],
)
def test_what_is_no_photo_is_named(magic, name):
    assert name in describe_foreign(magic)
    assert bool(name) == bool(describe_foreign(magic))


def test_scans_are_counted_up_to_the_end_of_the_first_image():
    assert read_structure(ACCEPTED["motion photo"]).n_scans == 1
    progressive = encoded(noise(), "JPEG", progressive=True)
    assert read_structure(progressive + progressive).n_scans == progressive.count(b"\xff\xda")
    thumbnail = b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0" + b"\xff\xda\xff\xd9" * 60
    assert decode_image(encoded(noise(), "JPEG", exif=thumbnail), LIMITS, HALVED).pixels.shape == (
        64,
        64,
        3,
    )


def test_bytes_between_segments_cost_no_time():
    for junk in (b"\xff\x01", b"\xff\xfe\0\2", b"\xff\xfe\0\2\0", b"\0"):
        data = b"\xff\xd8" + junk * (8_000_000 // len(junk)) + JPEG[2:]
        assert not read_structure(data).is_plausible
        assert refusal(data).code == "image-corrupt"


@pytest.mark.parametrize(
    ("peak", "white"), [(255, 255), (1023, 1023), (3000, 4095), (16_000, 16_383), (40_000, 65_535)]
)
def test_grey_of_sixteen_bits_is_scaled_by_the_bits_it_has(peak, white):
    values = np.full((16, 16), 0, np.uint16)
    values[0] = peak
    pixels = decode_image(encoded(Image.fromarray(values), "PNG"), LIMITS, HALVED).pixels
    assert pixels[0, 0, 0] == round(peak * 255 / white)
    assert pixels[1].max() == 0


@pytest.mark.parametrize("colour", [2, 4, 6])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_colour_of_sixteen_bits_is_scaled_by_the_bits_it_has(colour, bits):
    n_channels = {2: 3, 4: 2, 6: 4}[colour]
    white = 2**bits - 1
    values = np.random.default_rng(0).integers(0, white + 1, (20, 30, n_channels))
    values[0, 0] = white
    if n_channels % 2 == 0:
        values[..., -1] = 65_535
    pixels = decode_image(deep_png(values, colour), LIMITS, HALVED).pixels
    grey = values[..., :1] if colour == 4 else values[..., :3]
    assert difference(pixels, np.broadcast_to(np.rint(grey * 255 / white), (20, 30, 3))).max() <= 1


def test_bits_that_the_file_declares_are_believed():
    values = np.full((16, 16), 3000, np.uint16)
    data = encoded(Image.fromarray(values), "PNG")
    assert decode_image(data, LIMITS, HALVED).pixels[0, 0, 0] == 187
    declared = data[:33] + chunk(b"sBIT", b"\x10") + data[33:]
    assert decode_image(declared, LIMITS, HALVED).pixels[0, 0, 0] == 12


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def deep_png(values: np.ndarray, colour: int) -> bytes:
    height, width, _ = values.shape
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    parts = (b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def test_cmyk_without_a_usable_profile_is_pillows():
    cmyk = photo(0, 40, 30).convert("CMYK")
    plain = encoded(cmyk, "JPEG")
    assert np.array_equal(decode_image(plain, LIMITS, HALVED).pixels, as_pillow(plain))
    bogus = encoded(cmyk, "JPEG", icc_profile=bytes(16) + b"CMYK" + bytes(3000))
    assert np.array_equal(decode_image(bogus, LIMITS, HALVED).pixels, as_pillow(plain))
    grey = encoded(
        cmyk, "JPEG", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    )
    assert np.array_equal(decode_image(grey, LIMITS, HALVED).pixels, as_pillow(plain))


def test_cmyk_is_converted_by_its_profile():
    profile = cmyk_profile()
    image = Image.new("CMYK", (16, 16), (0, 0, 0, 0))
    image.paste((255, 0, 0, 0), (0, 8, 16, 16))
    data = encoded(image, "JPEG", quality=100, icc_profile=profile)
    transform = ImageCms.buildTransform(
        ImageCms.getOpenProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"),
        "CMYK", "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )  # fmt: skip
    expected = np.asarray(ImageCms.applyTransform(image, transform))
    pixels = decode_image(data, LIMITS, HALVED).pixels
    assert difference(pixels, expected).max() <= 3
    assert difference(pixels, as_pillow(data)).max() > 40


def cmyk_profile() -> bytes:
    """Return a small profile of a press: its colours to Lab, in a table of two points an ink (ICC.1, `mft1`)."""
    paper, darkest = np.array([240.0, 128, 128]), np.array([20.0, 128, 128])
    inks = {(1, 0, 0): (140, 90, 80), (0, 1, 0): (125, 200, 125), (0, 0, 1): (225, 125, 215)}
    table = []
    for index in np.ndindex(2, 2, 2, 2):
        parts = [np.array(inks[tuple(np.eye(3, dtype=int)[i])]) for i in range(3) if index[i]]
        lab = paper if not parts else np.mean(parts, axis=0) - 20 * (len(parts) - 1)
        table.append(darkest if index[3] else lab)
    curve = bytes(range(256))
    body = b"mft1" + bytes(4) + bytes([4, 3, 2, 0])
    body += struct.pack(">9i", *(65536 * (i % 4 == 0) for i in range(9)))
    body += 4 * curve + np.array(table).clip(0, 255).astype(np.uint8).tobytes() + 3 * curve
    body += bytes(-len(body) % 4)
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    text = b"desc" + bytes(4) + struct.pack(">I", 6) + b"press\0" + bytes(78)
    text += bytes(-len(text) % 4)
    tags, data, at = b"", b"", 128 + 4 + 3 * 12
    for name, value in ((b"A2B0", body), (b"wtpt", white), (b"desc", text)):
        tags += name + struct.pack(">II", at + len(data), len(value))
        data += value
    size = at + len(data)
    header = struct.pack(">I", size) + b"lcms" + bytes.fromhex("02400000") + b"prtrCMYKLab "
    header += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    header += bytes(128 - len(header))
    return header + struct.pack(">I", 3) + tags + data


def test_next_to_nothing_is_said():
    random = np.random.default_rng(0)
    lens = np.clip(random.normal(6, 3, (90, 120, 3)), 0, 255).astype(np.uint8)
    lens[3, 4] = 255
    wall = np.broadcast_to(np.linspace(200, 225, 120)[None, :, None], (90, 120, 3)).astype(np.uint8)
    for pixels in (lens, wall):
        decoded = decode_image(encoded(Image.fromarray(pixels), "PNG"), LIMITS, HALVED)
        assert decoded.warnings == ("little_detail",)
        assert not decoded.shows_nothing
    for pixels in (make_pixels(), np.asarray(photo(0, 90, 60)), np.asarray(photo(1, 90, 60)) // 3):
        assert decode_image(encoded(Image.fromarray(pixels), "PNG"), LIMITS, HALVED).warnings == ()


@pytest.mark.parametrize("kind", ["HEIF", "AVIF", "MPO", "CMYK", "16 bits"])
def test_cut_and_flipped_files_raise_nothing_but_a_problem(kind):
    whole = {
        "HEIF": heic(photo(0, 64, 48).convert("RGBA")),
        "AVIF": encoded(photo(0, 64, 48), "AVIF", speed=10),
        "MPO": encoded(noise(), "MPO", save_all=True, append_images=[noise(32)]),
        "CMYK": encoded(noise().convert("CMYK"), "JPEG", icc_profile=cmyk_profile()),
        "16 bits": deep_png(np.random.default_rng(0).integers(0, 4096, (40, 40, 3)), 2),
    }[kind]
    random = np.random.default_rng(7)
    for _ in range(200):
        data = bytearray(whole)
        for at in random.integers(0, min(len(data), 700), random.integers(0, 5)):
            data[at] = random.integers(0, 256)
        if random.integers(2):
            del data[random.integers(1, len(data)) :]
        with contextlib.suppress(Problem):
            decode_image(bytes(data), LIMITS, HALVED)


@pytest.mark.parametrize("kind", ["HEIF", "AVIF"])
def test_a_cut_file_is_never_decoded(kind):
    image = photo(0, 96, 64)
    whole = heic(image) if kind == "HEIF" else encoded(image, "AVIF", speed=10)
    for end in range(12, len(whole), 97):
        assert refusal(whole[:end]).code in ("image-truncated", "image-undecodable")


def test_a_profile_of_a_png_is_left_alone():
    plain = decode_image(encoded(noise(), "PNG"), LIMITS, HALVED).pixels
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert np.array_equal(
        decode_image(encoded(noise(), "PNG", icc_profile=profile), LIMITS, HALVED).pixels,
        plain,
    )
    assert decode_image(png_with(b"iCCP", b"x\0\0" + bytes(9)), LIMITS, HALVED).pixels.shape[2] == 3
