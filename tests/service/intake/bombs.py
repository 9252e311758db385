"""Small archives that unpack to much, or keep whoever reads them busy: made by hand as hostile senders make them."""

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
import zlib

from tests.service.intake.packing import tar_of, zip_of

KERNEL = 1 << 20
"""Bytes of zeros that overlapping entries share."""


def _local(name, data, size, crc, method=8):
    """Return the header of an entry, without its data."""
    sizes = struct.pack("<HHHHHIIIHH", 20, 0, method, 0, 0x21, crc, len(data), size, len(name), 0)
    return b"PK\x03\x04" + sizes + name


def _central(name, offset, packed, size, crc, method=8):
    head = struct.pack("<HHHHHIIIHH", 20, 0, method, 0, 0x21, crc, packed, size, len(name), 0)
    return b"PK\x01\x02\x14\x00" + head + struct.pack("<HHHII", 0, 0, 0, 0, offset) + name


def _ended(body, directory, n):
    count = min(n, 0xFFFF)
    end = struct.pack("<HHHHIIH", 0, 0, count, count, len(directory), len(body), 0)
    return body + directory + b"PK\x05\x06" + end


def deflated(data):
    """Return raw deflate data, as in a zip."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def one_entry_many_times(n=3000):
    """Return a zip whose directory names one entry `n` times."""
    data, crc = deflated(bytes(KERNEL)), zlib.crc32(bytes(KERNEL))
    name = b"heron/a.png"
    body = _local(name, data, KERNEL, crc) + data
    directory = _central(name, 0, len(data), KERNEL, crc) * n
    return _ended(body, directory, n)


def one_within_another(n=300):
    """Return a zip in which each entry's data hold the header of the next, quoted, and all end in the same zeros.

    The construction of D. Fifield, A better zip bomb (2019).
    """
    zeros = bytes(KERNEL)
    data, crc, size = deflated(zeros), zlib.crc32(zeros), KERNEL
    content = zeros
    body, directory = b"", b""
    for i in reversed(range(n)):
        name = b"heron/%04d.png" % i
        header = _local(name, data, size, crc)
        body = header + (body or data)
        directory = _central(name, 0, len(data), size, crc) + directory
        if i:
            # A stored block, not the last one, with this header in it: what follows is the next entry's data.
            quote = b"\x00" + struct.pack("<HH", len(header), len(header) ^ 0xFFFF)
            body, data = quote + body, quote + header + data
            content = header + content
            size, crc = len(content), zlib.crc32(content)
    # Offsets are known last: each entry lies after the quotes and headers of those before.
    return _ended(*_with_offsets(body, directory), n)


def _with_offsets(body, directory):
    at, offset, result = 0, 0, b""
    while at < len(directory):
        length = 46 + struct.unpack("<H", directory[at + 28 : at + 30])[0]
        offset = body.index(b"PK\x03\x04", offset)
        entry = directory[at : at + length]
        result += entry[:42] + struct.pack("<I", offset) + entry[46:]
        at, offset = at + length, offset + 4
    return body, result


def over_the_directory():
    """Return a zip with a stored entry that goes on into the directory."""
    name, data = b"heron/a.png", b"x" * 10
    body = _local(name, bytes(30), 30, 0, method=0) + data
    return _ended(body, _central(name, 0, 30, 30, 0, method=0), 1)


def lying_zip(said):
    """Return a zip with an entry of 70 MB of zeros that gives its size as another."""
    zeros = bytes(70_000_000)
    data, name = deflated(zeros), b"heron/a.png"
    crc = zlib.crc32(zeros[: min(said, len(zeros))])
    body = _local(name, data, said, crc) + data
    return _ended(body, _central(name, 0, len(data), said, crc), 1)


def zip_bomb(method, n_bytes=30_000_000, n=3, name="heron/{}.png"):
    """Return a zip of a few entries of zeros, packed with one method."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression=method) as archive:
        zeros = bytes(n_bytes)
        for i in range(n):
            archive.writestr(name.format(i), zeros)
    return buffer.getvalue()


def crowded_zip(n=400_000):
    """Return a zip with very many entries of nothing."""
    name = b"a"
    body = _local(name, b"", 0, 0, method=0)
    return _ended(body, _central(name, 0, 0, 0, 0, method=0) * n, n)


def crowded_zip64(n=400_000):
    """Return the same, with a locator that points at a harmless record, while the real one says how large it is."""
    whole = crowded_zip(n)
    end = whole.rindex(b"PK\x05\x06")
    size, offset = struct.unpack("<II", whole[end + 12 : end + 20])
    harmless = b"PK\x06\x06" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, 1, 1, 47, offset)
    real = b"PK\x06\x06" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, n, n, size, offset)
    locator = b"PK\x06\x07" + struct.pack("<IQI", 0, end - 0, 1)
    last = struct.pack("<HHHHIIH", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return whole[:end] + harmless + real + locator + b"PK\x05\x06" + last


def tar_bomb(pack, name="heron/{}.png", n_bytes=100_000_000, n=1):
    """Return a packed tar of a few members of zeros."""
    zeros = bytes(n_bytes)
    return PACKERS[pack](tar_of({name.format(i): zeros for i in range(n)}))


def header_bomb(kind, content, n=1):
    """Return a packed tar with extended headers of some content before its members."""
    header = tarfile.TarInfo("x")
    header.type, header.size = kind, len(content)
    block = header.tobuf(tarfile.USTAR_FORMAT) + content + bytes(-len(content) % 512)
    member = tarfile.TarInfo("heron/a.png").tobuf(tarfile.USTAR_FORMAT)
    return gzip.compress((block + member) * n + bytes(1024))


def tar_of_names(n):
    """Return a packed tar of files without content, each with a name as long as may be."""
    folders = "/".join(["a" * 200] * 20)
    return gzip.compress(
        tar_of({f"{folders}/{i}": b"" for i in range(n)}, format=tarfile.GNU_FORMAT), 1
    )


def nothing_joined(pack, n=50_000):
    """Return a packed tar before which very many packed nothings are joined."""
    return PACKERS[pack](b"") * n + PACKERS[pack](tar_of({"heron/a.png": b"1"}))


PACKERS = {
    "gz": gzip.compress,
    "xz": lambda data: lzma.compress(data, preset=0),
    "bz2": bz2.compress,
}
ZIPS = {
    "one entry many times": one_entry_many_times,
    "one within another": one_within_another,
    "over the directory": over_the_directory,
    "a size that is too large": lambda: lying_zip(4_000_000_000),
    "bzip2 in a zip": lambda: zip_bomb(zipfile.ZIP_BZIP2),
    "LZMA in a zip": lambda: zip_bomb(zipfile.ZIP_LZMA),
    "deflate": lambda: zip_bomb(zipfile.ZIP_DEFLATED, 40_000_000),
    "no names of images": lambda: zip_bomb(zipfile.ZIP_DEFLATED, name="heron/IMG{}"),
    "very many entries": crowded_zip,
    "very many entries, said elsewhere": crowded_zip64,
}
TARS = {
    "xz": lambda: tar_bomb("xz"),
    "bz2": lambda: tar_bomb("bz2"),
    "gz": lambda: tar_bomb("gz"),
    "many members": lambda: tar_bomb("gz", n_bytes=1_000_000, n=150),
    "no images": lambda: tar_bomb("bz2", name="notes/{}.txt"),
    "passed over": lambda: tar_bomb("xz", name=".cache/{}"),
    "digits in a header": lambda: header_bomb(tarfile.XHDTYPE, b"1" * 200_000),
    "long names": lambda: header_bomb(tarfile.GNUTYPE_LONGNAME, b"a" * 200_000, 200),
    "names up to the limit": lambda: tar_of_names(5000),
    "comments": lambda: header_bomb(tarfile.XHDTYPE, b"12 comment=\n" * 16_000, 200),
    "gzips of nothing": lambda: nothing_joined("gz"),
    "xz of nothing": lambda: nothing_joined("xz"),
    "bzip2 of nothing": lambda: nothing_joined("bz2"),
}
BOMBS = {**ZIPS, **TARS}


def flat_bitmaps(n=60):
    """Return a zip of bitmaps of one colour each, as beginners draw them: packed several hundred to one, and honest."""
    files = {}
    for i in range(n):
        pixels = bytes([i, 40, 200 - i]) * (512 * 512)
        size = 54 + len(pixels)
        head = struct.pack(
            "<2sIHHIIiiHHIIiiII", b"BM", size, 0, 0, 54, 40, 512, 512, 1, 24, 0, 0, 0, 0, 0, 0
        )
        files[f"colour {i % 3}/{i}.bmp"] = head + pixels
    return zip_of(files, compression=zipfile.ZIP_DEFLATED)
