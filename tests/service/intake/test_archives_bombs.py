"""Archives that are larger, or more work, than they look: refused before they have cost anything."""

import bz2
import lzma
import resource
import zipfile

import pytest

from service.intake.allowance import FREE_BYTES, MAX_RATIO, Allowance
from service.intake.archives import ArchiveLimits, unpack
from service.intake.spool import Spool
from service.problems import Problem
from tests.service.intake.bombs import BOMBS, ZIPS, flat_bitmaps, lying_zip, zip_bomb
from tests.service.intake.packing import PACKS, tar_of, zip_of
from tests.service.layout.layouts import JPEG
from tests.waiting import within

MIB = 1 << 20
LIMITS = ArchiveLimits(max_images=20_000, max_bytes=2048 * MIB, max_image_bytes=48 * MIB)
"""Those of a service as it comes."""
HARMLESS = {
    "a size that is too large": "it is one image, cut where images end",
    "no names of images": "only the first bytes of each are read",
}
"""What is small enough to be read, or not read at all."""


def unpacked(data):
    with Spool() as archive, Spool() as into:
        archive.append(data)
        try:
            return [into.read(f.offset, f.size) for f in unpack(archive, into, LIMITS)], None
        except Problem as problem:
            return into.size, problem


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_before_it_goes_off(name):
    data = BOMBS[name]()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with within(1.0):
        found, problem = unpacked(data)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024
    if name in HARMLESS:
        assert sum(map(len, found)) <= LIMITS.max_image_bytes + 1, HARMLESS[name]
        return
    assert problem is not None
    assert problem.code == "archive-rejected"
    assert found <= FREE_BYTES + MAX_RATIO * len(data)
    if name in ZIPS:
        assert found == 0, "something was unpacked"


def test_bitmaps_of_one_colour_are_no_bomb():
    found, problem = unpacked(flat_bitmaps())
    assert (problem, len(found)) == (None, 60)
    assert all(image.startswith(b"BM") for image in found)


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_each_compression_of_zips_is_read_within_memory(method):
    data = zip_bomb(method, 20_000_000, 1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    [image], problem = unpacked(data)
    assert problem is None
    assert image == bytes(20_000_000)
    # The test holds what was read twice; the rest may not be more than a dictionary.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
@pytest.mark.parametrize("content", [b"", b"x", JPEG, JPEG * 3000])
def test_each_compression_of_zips_is_read_to_the_byte(method, content):
    found, problem = unpacked(zip_of({"heron/a.jpg": content}, compression=method))
    assert (problem, found) == (None, [content])


def test_a_size_that_is_too_small_cuts_the_entry():
    found, problem = unpacked(lying_zip(1000))
    assert (problem, found) == (None, [bytes(1000)])


def test_a_photo_of_any_allowed_size_is_read_from_a_tar():
    photo = JPEG + bytes(range(256)) * 100_000
    assert len(photo) > 16 * MIB
    for pack in ("tar", "tar.gz"):
        assert unpacked(PACKS[pack]({"heron/a.jpg": photo})) == ([photo], None)


@pytest.mark.parametrize("compress", [bz2.compress, lzma.compress])
def test_a_tar_packed_in_many_pieces_is_read(compress):
    photo = JPEG + bytes(range(256)) * 800
    whole = tar_of({f"heron/{i}.jpg": photo for i in range(10)})
    pieces = [whole[at : at + 1400] for at in range(0, len(whole), 1400)]
    assert 1000 < len(pieces) < 2000
    assert unpacked(b"".join(map(compress, pieces))) == ([photo] * 10, None)


def test_a_program_with_a_zip_behind_it_is_no_archive():
    _, problem = unpacked(b"#!/bin/sh\nexec unzip $0\n" + zip_of({"heron/a.jpg": JPEG}))
    assert problem is not None
    assert "no archive" in problem.detail


def test_an_allowance_counts_both_bounds():
    allowed = Allowance(1000, FREE_BYTES + 150_000)
    allowed.spend(FREE_BYTES + 100_000)
    with pytest.raises(Problem, match="100 times"):
        allowed.spend(1)
    with pytest.raises(Problem, match="more than a task"):
        allowed.require(FREE_BYTES + 150_001)
