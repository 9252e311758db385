"""Rows 119 to 121: archives and bundles. tests/service/routes/test_bundles.py has many more of the last kind."""

import io
import stat
import struct
import tarfile
import zipfile
from collections.abc import Iterable
from functools import partial

from tests.factories import make_image
from tests.service.catalogue.rows import Case, Row, refused
from tests.service.catalogue.wire import MARKER
from tests.service.routes.forged_bundles import ARTIFACTS, members_of, tar_of

PICKLE = (
    b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c"
    + bytes([len(MARKER)])
    + MARKER.encode()
    + b"\x94."
)
"""The marker, as Python's own serialisation writes it."""
ZIP, TAR, GZIP = "application/zip", "application/x-tar", "application/gzip"


def zip_of(entries: Iterable[tuple[str | zipfile.ZipInfo, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return buffer.getvalue()


def _special(kind, target=""):
    entry = tarfile.TarInfo("heron/a.png")
    entry.type, entry.linkname = kind, target
    return tar_of([(entry, b"")])


def _zip_link():
    entry = zipfile.ZipInfo("heron/a.png")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return zip_of([(entry, b"/etc/passwd")])


def _bomb(n_files):
    """Sixty megabytes of zeros in each file, in some ten kilobytes."""
    return zip_of([(f"heron/{i}.png", bytes(60_000_000)) for i in range(n_files)])


def _entries(n):
    """A directory of many names for one small file, as 42.zip has it."""
    one = zip_of([("heron/a.png", b"x")])
    at = one.index(b"PK\x01\x02")
    body, end = one[:at], one.index(b"PK\x05\x06")
    directory = one[at:end] * n
    tail = struct.pack(
        "<4sHHHHIIH", b"PK\x05\x06", 0, 0, n % 65536, n % 65536, len(directory), at, 0
    )
    return body + directory + tail


def archive(name, data, kind=ZIP, code="archive-rejected", why="") -> Case:
    return refused(name, lambda wire: wire.upload_form(data, kind), code, why=why)


def bundle(name, make, code="artifact-invalid", why="") -> Case:
    """Something that is sent to be imported; `make` gets a good bundle's members."""
    return refused(name, partial(_import, make=make), code, why=why)


def _import(wire, make, kind=TAR):
    path = f"/v1/learners/{wire.taught}/versions/1/bundle"
    data = make(members_of(wire.send("GET", path).body))
    where = "/v1/learners/import?name=imported"
    return wire.send("POST", where, content=data, headers={"Content-Type": kind})


def _pickled(members):
    return PICKLE


def _zip_file(members):
    return zip_of([("archive/data.pkl", PICKLE)])


NAMES = ("../x.png", "heron/../../x.png", "/etc/passwd", "C:\\heron\\x.png")
UNSUPPORTED = "artifact-format-unsupported"
TENSORS = (
    "truncated", "trailing", "empty file", "a header of 100 MB", "a header of 2 ** 63", "200,000 tensors",
    "wrong shape", "wrong dtype", "wrong name", "NaN", "inf",
)  # fmt: skip
"""Those of the bundles' own table that the catalogue names."""

ROWS: dict[int, Row] = {
    119: (
        "hostile archives",
        [
            *(archive(f"zip {n}", zip_of([(n, make_image())])) for n in NAMES),
            *(
                archive(f"tar {n}", tar_of([(tarfile.TarInfo(n), make_image())]), TAR)
                for n in NAMES
            ),
            archive("symbolic link", _special(tarfile.SYMTYPE, "/etc/passwd"), TAR),
            archive("hard link", _special(tarfile.LNKTYPE, "heron/b.png"), TAR),
            archive("device", _special(tarfile.CHRTYPE), TAR),
            archive("pipe", _special(tarfile.FIFOTYPE), TAR),
            archive("link in a zip", _zip_link()),
            archive("bomb", _bomb(2), why="together they are more than a task may have"),
            archive(
                "bomb of one file",
                _bomb(1),
                code="images-rejected",
                why="each file is cut at the limit of an image, and refused by name",
            ),
            refused(
                "a million entries",
                lambda wire: wire.upload_form(_entries(1_000_000), ZIP),
                "archive-rejected",
            ),
            archive("no archive", MARKER.encode() * 100),
            archive("no gzip", b"\x1f\x8b" + MARKER.encode(), GZIP),
            bundle(
                "bundle with ..",
                lambda members: tar_of([(tarfile.TarInfo("../x"), b"x")]),
                "archive-rejected",
            ),
            bundle(
                "bundle with a link",
                lambda members: _special(tarfile.SYMTYPE, "/etc/passwd"),
                "archive-rejected",
            ),
        ],
    ),
    120: (
        "models of other kinds",
        [
            bundle("pickle", _pickled, UNSUPPORTED),
            bundle("torch.save", _zip_file, UNSUPPORTED),
            *(
                refused(kind, partial(_import, make=_pickled, kind=kind), code)
                for kind, code in (
                    ("application/octet-stream", UNSUPPORTED),
                    ("application/zip", UNSUPPORTED),
                )
            ),
        ],
    ),
    121: (
        "damaged tensors",
        [bundle(name, ARTIFACTS[name]) for name in TENSORS],
    ),
}
