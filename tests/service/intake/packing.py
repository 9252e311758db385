"""Archives as people's programs pack them, made by hand where no library makes them."""

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
import zlib

UTF8_FLAG = 0x800


def zip_of(files, **options):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **options) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def tar_of(files, mode="w", **options):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode, **options) as archive:
        for name, data in files.items():
            entry = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def unicode_path(raw, name):
    """Return the extra field of Info-ZIP that says what a name really is."""
    data = b"\x01" + struct.pack("<I", zlib.crc32(raw)) + name.encode()
    return struct.pack("<HH", 0x7075, len(data)) + data


def raw_zip(entries):
    """Return a zip of `(raw name, flag bits, extra field, data)`, stored, the names as the bytes they are."""
    body, directory = b"", b""
    for raw, flags, extra, data in entries:
        head = struct.pack(
            "<HHHHHIIIHH",
            20,
            flags,
            0,
            0,
            0x21,
            zlib.crc32(data),
            len(data),
            len(data),
            len(raw),
            len(extra),
        )
        directory += (
            b"PK\x01\x02\x14\x00"
            + head
            + struct.pack("<HHHII", 0, 0, 0, 0, len(body))
            + raw
            + extra
        )
        body += b"PK\x03\x04" + head + raw + extra + data
    end = struct.pack("<HHHHIIH", 0, 0, len(entries), len(entries), len(directory), len(body), 0)
    return body + directory + b"PK\x05\x06" + end


def zip64_of(files):
    """Return a zip whose end is recorded in the form for more than 4 GiB, as some programs always do."""
    data = zip_of(files)
    at = data.rfind(b"PK\x05\x06")
    count, size, offset = struct.unpack("<HII", data[at + 10 : at + 20])
    record = b"PK\x06\x06" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, count, count, size, offset)
    locator = b"PK\x06\x07" + struct.pack("<IQI", 0, at, 1)
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return data[:at] + record + locator + end


PACKS = {
    "zip": zip_of,
    "deflated zip": lambda files: zip_of(files, compression=zipfile.ZIP_DEFLATED),
    "zip64": zip64_of,
    "tar": tar_of,
    "old tar": lambda files: _as_before_1988(tar_of(files, format=tarfile.USTAR_FORMAT)),
    "gnu tar": lambda files: tar_of(files, format=tarfile.GNU_FORMAT),
    "tar.gz": lambda files: gzip.compress(tar_of(files)),
    "tar.xz": lambda files: lzma.compress(tar_of(files)),
    "tar.bz2": lambda files: bz2.compress(tar_of(files)),
    "two joined gzips": lambda files: _in_two(files, gzip.compress),
    "two joined xz": lambda files: _in_two(files, lzma.compress),
    "two joined bzip2": lambda files: _in_two(files, bz2.compress),
}


def _in_two(files, compress):
    whole = tar_of(files)
    return compress(whole[:700]) + compress(whole[700:])


def _as_before_1988(data):
    """Take the magic out of each header of a tar."""
    data = bytearray(data)
    for at in range(0, len(data), 512):
        if data[at + 257 : at + 262] == b"ustar":
            data[at + 257 : at + 265] = bytes(8)
            data[at + 148 : at + 156] = b" " * 8
            data[at + 148 : at + 156] = b"%06o\0 " % sum(data[at : at + 512])
    return bytes(data)
