"""What a JPEG's segments say, before anything is decoded: how many scans, and how much memory decoding takes."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

SIGNATURE = b"\xff\xd8"
MAX_SCANS = 40
"""A progressive JPEG has about ten. Each is a pass over all pixels (28 ms at 25 MP) and may have 42 bytes."""

MAX_SEGMENTS = 4096
"""A photo with a large preview in its header has some hundred."""
MAX_JUNK = 65_536
"""Bytes before the first scan that belong to no segment: decoders skip them one by one."""

SHORT_HEADER = 64
"""Segments before the image data of a file that is quick to look at; a photo of a phone has about 20."""

_END, _SCAN = 0xD9, 0xDA
_FRAMES = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
_LOSSLESS = {0xC3, 0xC7, 0xCB, 0xCF}
_MAX_CHUNK = 1 << 18
_IS_MARKER = np.ones(256, dtype=bool)
"""Whether a byte after 0xFF makes a marker. In a scan 0x00 is stuffed behind 0xFF, and restarts belong to the data."""
_IS_MARKER[[0x00, 0x01, 0xFF, *range(0xD0, 0xD8)]] = False
_COEFFICIENT_BYTES = 2


@dataclass(frozen=True)
class JpegStructure:
    """The first image of a file: thumbnails in its header and whatever lies behind its end do not count."""

    is_plausible: bool
    """Whether it has no more scans, segments and junk than encoders make."""
    n_scans: int
    """Counted up to one beyond `MAX_SCANS`."""
    is_buffered: bool
    """Whether the decoder keeps the coefficients of the whole image, because it comes in several scans."""
    is_progressive: bool
    is_lossless: bool
    """Such an image cannot be decoded at reduced size."""
    samples_per_pixel: float
    """Over all components: 1.5 with colour at a quarter of the resolution, 3 at the full one."""

    @property
    def buffer_bytes_per_pixel(self) -> float:
        """What the decoder keeps beside the pixels it gives."""
        if not (self.is_buffered or self.is_lossless):
            return 0.0
        return _COEFFICIENT_BYTES * self.samples_per_pixel


def read_structure(data: bytes) -> JpegStructure:
    """Walk the segments up to the end of the first image. What is broken is taken as the costliest it can be."""
    frame, n_components, samples = 0, 0, 4.0
    n_scans, first_scan, n_segments, junk, at = 0, 0, 0, 0, len(SIGNATURE)
    for marker, start, end in _segments(data):
        n_segments += 1
        junk += 0 if n_scans else start - 4 - at
        at = end
        if marker in _FRAMES and not frame:
            frame = marker
            n_components, samples = _sampling(data[start:end])
        if marker == _SCAN:
            n_scans += 1
            first_scan = first_scan or (data[start] if start < end else 0)
        if n_scans > MAX_SCANS or n_segments > MAX_SEGMENTS or junk > MAX_JUNK:
            break
        if _is_one_scan(frame, n_components, first_scan):
            break
    else:
        junk += 0 if n_scans else len(data) - at
    return JpegStructure(
        is_plausible=n_scans <= MAX_SCANS and n_segments <= MAX_SEGMENTS and junk <= MAX_JUNK,
        n_scans=n_scans,
        is_buffered=not _is_one_scan(frame, n_components, first_scan),
        is_progressive=frame in _PROGRESSIVE,
        is_lossless=frame in _LOSSLESS,
        samples_per_pixel=samples,
    )


def has_short_header(data: bytes) -> bool:
    """Return whether this is a JPEG with few segments before its image data, with nothing between them."""
    if not data.startswith(SIGNATURE):
        return False
    end = len(SIGNATURE)
    for marker, start, following in islice(_segments(data), SHORT_HEADER):
        if start - 4 != end:
            return False
        if marker == _SCAN:
            return True
        end = following
    return False


def _is_one_scan(frame: int, n_components: int, in_first_scan: int) -> bool:
    """Return whether the first scan holds everything: libjpeg takes a second one for damage then."""
    return 0 < n_components == in_first_scan and bool(frame) and frame not in _PROGRESSIVE


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield each marker with the start and end of what belongs to it, up to the end of the image."""
    at = _next_marker(data, len(SIGNATURE))
    while at + 4 <= len(data) and data[at + 1] != _END:
        end = at + 2 + max(2, struct.unpack(">H", data[at + 2 : at + 4])[0])
        yield data[at + 1], at + 4, min(end, len(data))
        at = _next_marker(data, end)


def _next_marker(data: bytes, start: int) -> int:
    """Return where the next marker begins, at `start` or behind, or the length of the data."""
    if data[start : start + 1] == b"\xff" and start + 1 < len(data) and _IS_MARKER[data[start + 1]]:
        return start
    values = np.frombuffer(data, dtype=np.uint8)
    at, size = start, 1024
    while at < len(data) - 1:
        chunk = values[at : at + size + 1]
        leads = np.flatnonzero(chunk[:-1] == 0xFF)
        markers = leads[_IS_MARKER[chunk[leads + 1]]]
        if markers.size:
            return at + int(markers[0])
        at, size = at + size, min(2 * size, _MAX_CHUNK)
    return len(data)


def _sampling(frame: bytes) -> tuple[int, float]:
    """Return how many components a frame has, and how many samples a pixel they have together."""
    if len(frame) < 6 or len(frame) < 6 + 3 * frame[5] or not frame[5]:
        return 0, 4.0
    factors = [(frame[at] >> 4, frame[at] & 15) for at in range(7, 6 + 3 * frame[5], 3)]
    across, down = (max(side) for side in zip(*factors, strict=True))
    if not across or not down:
        return 0, 4.0
    return len(factors), sum(h * v for h, v in factors) / (across * down)
