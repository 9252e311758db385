"""Which JPEGs may be looked at in the event loop."""

import io
import struct
import threading

import numpy as np
import pytest
from PIL import Image

from service.intake.decoding import QUICK_BYTES, Decoder
from service.intake.forms import HALVED
from service.intake.images import Weight
from service.intake.jpeg import SHORT_HEADER, has_short_header
from service.metrics import Metrics
from service.settings import ServiceSettings


def encode(kind="JPEG", side=64, **options):
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def with_segments(data, n, *, gap=b""):
    """Put comments behind the first marker of a JPEG."""
    comment = gap + b"\xff\xfe" + struct.pack(">H", 4) + b"hi"
    return data[:2] + n * comment + data[2:]


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"quality": 20}, {"subsampling": 0}]
)
def test_what_cameras_and_programs_write_has_a_short_header(options):
    assert has_short_header(encode(**options))
    assert has_short_header(with_segments(encode(**options), 20))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xd8",
        b"\xff\xd8\xff",
        encode("PNG"),
        encode()[:20],
        with_segments(encode(), SHORT_HEADER),
        with_segments(encode(), 4000),
        with_segments(encode(), 1, gap=b"x"),
        b"\xff\xd8" + bytes(100_000),
    ],
)
def test_whatever_takes_longer_to_look_at_has_none(data):
    assert not has_short_header(data)


def weigh(data, monkeypatch):
    """Return the weight, and the thread that found it."""
    threads = []
    decoder = Decoder(ServiceSettings(), Metrics())
    own = decoder._weigh

    def watched(*given):
        threads.append(threading.current_thread())
        return own(*given)

    monkeypatch.setattr(decoder, "_weigh", watched)
    try:
        [weight] = decoder.weigh("anna", [data], HALVED).result(30)
    finally:
        decoder.close()
    return weight, threads[0]


def test_only_what_is_quickly_weighed_is_weighed_where_it_is_asked(monkeypatch):
    here = threading.current_thread()
    quick, by = weigh(encode(side=200), monkeypatch)
    assert isinstance(quick, Weight)
    assert by is here
    elsewhere = [
        encode("PNG", side=200),
        with_segments(encode(side=200), SHORT_HEADER),
        encode(side=1000, quality=95) + bytes(QUICK_BYTES),
    ]
    for data in elsewhere:
        weight, by = weigh(data, monkeypatch)
        assert isinstance(weight, Weight)
        assert by is not here
