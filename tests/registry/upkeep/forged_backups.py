"""Files that are no sound backups."""

import hashlib
import io
import json
import tarfile


def write_tar(path, members, *, sums=None):
    sums = sums or {name: hashlib.sha256(data).hexdigest() for name, data in members.items()}
    members = {**members, "sums.json": json.dumps({"members": sums, "missing": []}).encode()}
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def members_of(file):
    with tarfile.open(file) as tar:
        return {info.name: tar.extractfile(info).read() for info in tar if info.name != "sums.json"}


def change_head(members, **changes):
    head = json.loads(members["backup.json"]) | changes
    return members | {"backup.json": json.dumps(head).encode()}


def a_table_less(members):
    return {name: data for name, data in members.items() if name != "tables/keys.copy"}


def another_column(members):
    head = json.loads(members["backup.json"])
    head["tables"]["keys"]["columns"][0] = "id\") FROM PROGRAM 'true'; --"
    return members | {"backup.json": json.dumps(head).encode()}


def a_row_less(members):
    data = members["tables/learners.copy"].splitlines(keepends=True)
    return members | {"tables/learners.copy": data[0]}


def an_orphan(members):
    return members | {"tables/learners.copy": b""}


def not_rows(members):
    return members | {"tables/keys.copy": b"nonsense\n"}


FORGERIES = [
    (lambda members: members | {"blobs/" + "0" * 64: b"not its bytes"}, "blobs/0000"),
    (lambda members: members | {"../evil": b"x"}, "evil"),
    (lambda members: members | {"/etc/passwd": b"x"}, "no backup of ours"),
    (lambda members: members | {"tables/pg_authid.copy": b""}, "tables"),
    (a_table_less, "tables"),
    (another_column, "columns"),
    (a_row_less, "rows"),
    (an_orphan, "rows"),
    (not_rows, "keys cannot be read"),
    (lambda members: change_head(members, tables=[]), "backup.json"),
    (lambda members: change_head(members, format_version="1"), "format"),
    (lambda members: change_head(members, format_version=2), "later release"),
    (lambda members: change_head(members, revision="9999"), "9999"),
    (lambda members: {"tables/keys.copy": b"", **members}, "does not come first"),
    (lambda members: members | {"backup.json": b"[" * 100_000}, "not JSON"),
]


def entry(name, type=tarfile.REGTYPE, size=0, linkname=""):
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = type, size, linkname
    return info.tobuf(tarfile.GNU_FORMAT)


ODD = [
    entry("blobs/" + "0" * 64, tarfile.SYMTYPE, linkname="/etc/passwd"),
    entry("blobs/" + "0" * 64, tarfile.LNKTYPE, linkname="backup.json"),
    entry("blobs/" + "0" * 64, tarfile.CHRTYPE),
    entry("blobs/" + "0" * 64, size=1 << 60),
    entry("sums.json", size=1 << 40),
    entry("x", tarfile.XHDTYPE, size=1 << 40),
    entry("x", tarfile.GNUTYPE_LONGNAME, size=1 << 40),
    b"\xff" * 512,
    b"",
]
