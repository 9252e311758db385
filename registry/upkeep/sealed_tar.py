"""An uncompressed tar that is sealed: a head comes first, and last `sums.json` with the SHA-256 of every other member.

Any tar program can look into one. Reading one here is stricter than a tar program: only regular files of the names that
we write, in plain headers, each with the sum that the seal gives for it.
"""

import hashlib
import json
import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, Protocol

from registry.errors import RegistryError

SUMS = "sums.json"
CHUNK_BYTES = 1 << 20
END = bytes(2 * tarfile.BLOCKSIZE)
MAX_END_BYTES = tarfile.RECORDSIZE + len(END)
"""Tar programs fill the last record of 20 blocks with zeros."""


@dataclass(frozen=True)
class TarForm:
    """What one kind of sealed tar may hold."""

    noun: str
    """What sentences call it."""
    head: str
    """The member that comes first."""
    member: re.Pattern[str]
    """Of the names of all members. A group `sha256` in it is the sum that the member must have."""
    max_json_bytes: int
    """Of the head and of `sums.json`, which are read whole."""
    damaged: type[RegistryError]
    """Raised with one sentence."""
    max_members: int | None = None
    quotes_names: bool = True
    """Whether sentences quote names out of the file. Not where they go back to whoever sent it."""


class Digest(Protocol):
    """What `hashlib` returns."""

    def update(self, data: bytes, /) -> None:
        """Take more bytes in."""

    def hexdigest(self) -> str:
        """Return the digest so far."""


def header(name: str, size: int) -> bytes:
    """Return the header block of a member."""
    info = tarfile.TarInfo(name)
    info.size = size
    info.mode = 0o600
    # GNU's headers have room for any size, and none of the extensions that a reader would have to follow.
    return info.tobuf(tarfile.GNU_FORMAT)


def padding(size: int) -> bytes:
    """Return what follows a member of this size, up to the next block."""
    return bytes(-size % tarfile.BLOCKSIZE)


class SealedTarWriter:
    """Writes members, and sums them up."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.sums: dict[str, str] = {}
        """The SHA-256 of each member so far."""
        self.size_bytes = 0

    def add(self, name: str, data: bytes) -> None:
        """Add a member."""
        self._write(header(name, len(data)))
        self.sums[name] = hashlib.sha256(data).hexdigest()
        self._write(data)
        self._write(padding(len(data)))

    def add_file(self, name: str, source: IO[bytes]) -> None:
        """Add a member from an open file, from its start."""
        size = source.seek(0, os.SEEK_END)
        source.seek(0)
        self._write(header(name, size))
        digest = hashlib.sha256()
        while chunk := source.read(CHUNK_BYTES):
            digest.update(chunk)
            self._write(chunk)
        self.sums[name] = digest.hexdigest()
        self._write(padding(size))

    def seal(self, **more: Any) -> None:
        """Add the sums of all members, with whatever else belongs there, and the tar's end."""
        self.add(SUMS, json.dumps({"members": self.sums, **more}, indent=0).encode())
        self._write(END)

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self.size_bytes += len(data)


class Member:
    """One file in a sealed tar, while the reader stands at it."""

    def __init__(
        self, name: str, size: int, file: IO[bytes], digest: Digest, damaged: RegistryError
    ) -> None:
        self.name = name
        self.size = size
        self._file = file
        self._digest = digest
        self._left = size
        self._damaged = damaged

    def chunks(self) -> Iterator[bytes]:
        """Read it piece by piece.

        Raises:
            RegistryError: The form's, if the file ends before it does.
        """
        while self._left:
            chunk = self._file.read(min(CHUNK_BYTES, self._left))
            if not chunk:
                raise self._damaged
            self._left -= len(chunk)
            self._digest.update(chunk)
            yield chunk

    def read(self) -> bytes:
        """Read all of it."""
        return b"".join(self.chunks())


class SealedTarReader:
    """Reads members in order, and sums them up for `check`. All its errors are the form's."""

    def __init__(self, file: IO[bytes], form: TarForm) -> None:
        self._file = file
        self._form = form
        self._digests: dict[str, Digest] = {}
        self._sums: dict[str, Any] = {}

    def members(self) -> Iterator[Member]:
        """Go through the members once; `sums.json` is read here and not returned.

        Raises:
            RegistryError: If there is anything that we would not have written.
        """
        self._file.seek(0)
        while (entry := self._next_header()) is not None:
            name, size = entry
            digest = self._digests[name] = hashlib.sha256()
            cut_off = self._damaged(f"The {self._form.noun} is cut off within {self._quote(name)}.")
            member = Member(name, size, self._file, digest, cut_off)
            if name == SUMS:
                self._sums = self.parse_json(member.read(), SUMS)
            else:
                yield member
                for _ in member.chunks():
                    pass
            if any(self._file.read(-size % tarfile.BLOCKSIZE)):
                raise self._damaged(
                    f"The {self._form.noun} holds bytes behind {self._quote(name)} that belong to nothing."
                )

    def check(self) -> dict[str, Any]:
        """Check all members against the sums, once `members` is through, and return what `sums.json` holds.

        Raises:
            RegistryError: If one differs, or is missing.
        """
        noun = self._form.noun
        if SUMS not in self._digests:
            raise self._damaged(f"The {noun} is cut off: its sums are missing.")
        digests = {
            name: digest.hexdigest() for name, digest in self._digests.items() if name != SUMS
        }
        sums = self._sums.get("members")
        if not isinstance(sums, dict):
            raise self._damaged(f"{SUMS} in the {noun} is not one of ours.")
        for name in [*sums, *digests]:
            named = self._form.member.fullmatch(name)
            promised = named.groupdict().get("sha256") if named else None
            if digests.get(name) != sums.get(name) or promised not in (None, digests.get(name)):
                raise self._damaged(
                    f"The {noun} is damaged: {self._quote(name)} does not match its sum."
                )
        return self._sums

    def parse_json(self, data: bytes, name: str) -> dict[str, Any]:
        """Parse a JSON object of the tar.

        Raises:
            RegistryError: If it is none.
        """
        try:
            value = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise self._damaged(f"{name} in the {self._form.noun} is not JSON.") from error
        if not isinstance(value, dict):
            raise self._damaged(f"{name} in the {self._form.noun} is not one of ours.")
        return value

    def _next_header(self) -> tuple[str, int] | None:
        """Return name and size of the next member, or None at the tar's end."""
        noun = self._form.noun
        block = self._file.read(tarfile.BLOCKSIZE)
        if block == bytes(tarfile.BLOCKSIZE):
            self._check_end()
            return None
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
        except (tarfile.HeaderError, ValueError) as error:
            reason = "is cut off" if self._digests else "is none of ours"
            raise self._damaged(f"The {noun} {reason}: {error}.") from error
        is_ours = self._form.member.fullmatch(info.name)
        if info.type != tarfile.REGTYPE or not is_ours or info.size < 0:
            held = self._quote(info.name[:100], "a link, a device, or a name that we do not write")
            raise self._damaged(f"The file is no {noun} of ours: it holds {held}.")
        if not self._digests and info.name != self._form.head:
            raise self._damaged(
                f"The file is no {noun} of ours: {self._form.head} does not come first."
            )
        self._check_place(info)
        return info.name, info.size

    def _check_end(self) -> None:
        """Check that nothing but the zeros of a tar follows: no sum stands for what lies behind the end."""
        rest = self._file.read(MAX_END_BYTES)
        if len(rest) < tarfile.BLOCKSIZE:
            raise self._damaged(f"The {self._form.noun} is cut off at its end.")
        if len(rest) == MAX_END_BYTES or len(rest) % tarfile.BLOCKSIZE or any(rest):
            raise self._damaged(f"The {self._form.noun} goes on after its end.")

    def _check_place(self, info: tarfile.TarInfo) -> None:
        noun, most = self._form.noun, self._form.max_members
        if info.name in self._digests or SUMS in self._digests:
            raise self._damaged(f"The {noun} holds {self._quote(info.name)} where it may not be.")
        if most is not None and len(self._digests) >= most:
            raise self._damaged(f"The {noun} holds more than {most} members.")
        if info.name in (self._form.head, SUMS) and info.size > self._form.max_json_bytes:
            raise self._damaged(f"{info.name} in the {noun} is too large.")

    def _damaged(self, sentence: str) -> RegistryError:
        return self._form.damaged(sentence)

    def _quote(self, name: str, instead: str = "a member") -> str:
        if name in (self._form.head, SUMS):
            return name
        return repr(name) if self._form.quotes_names else instead
