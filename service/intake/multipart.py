"""Reading `multipart/form-data` as it streams in: fields to memory, files to one spool.

Starlette's own parser keeps a temporary file a part, which runs out of descriptors at a few thousand images, and takes
a body that was cut off for one with fewer parts.
"""

import asyncio
import re
import sys
import time
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING
from urllib.parse import unquote

from fastapi import Request
from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.concurrency import run_in_threadpool

from service.http.bodies import BodyMeter
from service.intake.spool import Spool
from service.problems import FieldError, Problem
from service.strict_json import safe_token

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

MAX_FIELD_BYTES = 64 * 1024
MAX_JSON_FIELD_BYTES = 8 * 1024 * 1024
"""The fields `manifest` and `options` describe up to 20,000 images."""
MAX_TEXT_BYTES = 32 * 1024 * 1024
"""All fields and names of files together: two such fields, and 800 bytes for each of 20,000 images."""
PART_BYTES = 256
"""What a part takes in memory beside its texts."""
_EXTENDED_FILENAME = re.compile(
    rb";\s*filename\*\s*=\s*([^';]*)(?:'([^';]*)')?([^;]*)", re.IGNORECASE
)
_CHARSETS = {"utf-8": "utf-8", "iso-8859-1": "latin-1"}
_FLUSH_BYTES = 1 << 20
_SLICE_BYTES = 8 * 1024
"""Parsed before the time is looked at: 8 KiB of nothing but tiny fields take 3 ms."""
_TURN_S = 0.004
"""How long a thread parses before another form gets it."""
_SLOW_BYTES_PER_S = 16e6
"""After a turn that was slower the form waits as long again: tiny parts must not keep others from the interpreter."""


@dataclass
class FilePart:
    """One file of the form, lying in the spool."""

    name: str
    filename: str
    offset: int
    size: int = 0


@dataclass
class Form:
    """A parsed form. Parts that came as files though they are fields (`manifest`, `options`) count as fields."""

    fields: list[tuple[str, str]] = field(default_factory=list)
    files: list[FilePart] = field(default_factory=list)
    digest: str = ""
    """SHA-256 of names and contents: equal for a repeated request, though its boundary differs."""


async def read_form(
    request: Request,
    spool: Spool,
    *,
    max_files: int,
    max_fields: int,
    known_fields: frozenset[str] | None = None,
) -> Form:
    """Read the whole body. Its texts count as held in memory until the request is answered.

    Args:
        request: Whose body is a form.
        spool: Where the files go.
        max_files: Most of them.
        max_fields: Most fields.
        known_fields: Names of the fields there are, if others are refused; files are `images`, and a field may come as
            a file too.

    Raises:
        Problem: `malformed-multipart`, `too-many-parts` or `part-too-large`; `validation`, for an unknown field;
            `overloaded`, if there is no room in memory for its texts.
    """
    _, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary", b"")
    if not boundary:
        raise Problem("malformed-multipart", "The content type names no multipart boundary.")
    meter: BodyMeter = request.state.body_meter
    reader = _Reader(spool.size, max_files, max_fields, known_fields)
    try:
        reader.parser = MultipartParser(boundary, reader.callbacks())
        async for chunk in request.stream():
            at = 0
            while at < len(chunk):
                began_at = at
                at = await run_in_threadpool(reader.feed, chunk, at, spool)
                # Counted here: the budget belongs to the event loop.
                if not meter.is_held:
                    meter.hold(reader.take_held())
                if at - began_at < reader.turn_s * _SLOW_BYTES_PER_S:
                    await asyncio.sleep(reader.turn_s)
    except FormParserError as error:
        raise Problem("malformed-multipart") from error
    if not reader.is_complete:
        raise Problem("malformed-multipart", "The multipart body ends before its closing boundary.")
    await run_in_threadpool(reader.flush, spool)
    reader.form.digest = reader.digest.hexdigest()
    return reader.form


def refused_part(name: str, detail: str) -> Problem:
    """Return the problem of a part that cannot be what it says."""
    error = FieldError(f"/{safe_token(name)}", detail)
    return Problem("validation", errors=(error,))


def _extended_filename(disposition: bytes, name: str) -> bytes | None:
    """Return the name that `filename*` gives (RFC 8187), which forms should not send and some clients do; None without.

    Raises:
        Problem: `validation`, if it cannot be read.
    """
    match = _EXTENDED_FILENAME.search(disposition)
    if match is None:
        return None
    charset, _, encoded = (part.decode("ascii", "replace") for part in match.groups())
    try:
        return unquote(encoded, _CHARSETS[charset.lower()], "strict").encode()
    except (KeyError, UnicodeDecodeError):
        detail = "Its `filename*` cannot be read: send `filename`, or UTF-8'' and the name with percent signs."
        raise refused_part(name, detail) from None


class _Reader:
    """The parser's callbacks and what they gather."""

    parser: MultipartParser
    turn_s = 0.0
    """How long the last turn of parsing took."""

    def __init__(
        self, offset: int, max_files: int, max_fields: int, known_fields: frozenset[str] | None
    ) -> None:
        self.form = Form()
        self.pending = bytearray()
        self.is_complete = False
        self.digest = sha256()
        self._offset = offset
        self._max_files = max_files
        self._max_fields = max_fields
        self._known_fields = known_fields
        self._header_name = bytearray()
        self._header_value = bytearray()
        self._disposition = b""
        self._file: FilePart | None = None
        self._field_name = ""
        self._field_value = bytearray()
        self._text_bytes = 0
        self._held = 0

    def feed(self, chunk: bytes, at: int, spool: Spool) -> int:
        """Parse from a place in a chunk on, for a few milliseconds at most, and return how far that went."""
        started = time.perf_counter()
        self.turn_s = 0.0
        while at < len(chunk) and self.turn_s < _TURN_S:
            self.parser.write(chunk[at : at + _SLICE_BYTES])
            at += _SLICE_BYTES
            self.turn_s = time.perf_counter() - started
        if len(self.pending) >= _FLUSH_BYTES:
            self.flush(spool)
        return min(at, len(chunk))

    def take_held(self) -> int:
        """Return how many bytes of memory texts have taken since the last time."""
        held, self._held = self._held, 0
        return held

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_piece,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._finish,
        }

    def flush(self, spool: Spool) -> None:
        spool.append(bytes(self.pending))
        self.pending.clear()

    def _begin(self) -> None:
        self._disposition = b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _header_piece(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _header_end(self) -> None:
        if bytes(self._header_name).lower() == b"content-disposition":
            self._disposition = bytes(self._header_value)
        self._header_name.clear()
        self._header_value.clear()

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"name" not in options:
            raise Problem("malformed-multipart", "A part of the form has no name.")
        name = options[b"name"].decode("utf-8", "replace")
        filename = options.get(b"filename")
        if filename is None:
            filename = _extended_filename(self._disposition, name)
        self._digest_header(name, filename)
        self._count(len(name) + len(filename or b""), PART_BYTES + sys.getsizeof(name))
        if filename is None or name in ("manifest", "options"):
            self._require_known(name)
            self._file, self._field_name = None, name
            self._field_value.clear()
            if len(self.form.fields) >= self._max_fields:
                raise Problem("too-many-parts")
            return
        if len(self.form.files) >= self._max_files:
            raise Problem("too-many-parts")
        self._file = FilePart(name, filename.decode("utf-8", "replace"), self._offset)
        self._held += sys.getsizeof(self._file.filename)

    def _count(self, n_bytes: int, n_held: int) -> None:
        """Count text that came, and what it takes in memory."""
        self._text_bytes += n_bytes
        self._held += n_held
        if self._text_bytes > MAX_TEXT_BYTES:
            most = f"{MAX_TEXT_BYTES // 2**20} MiB"
            detail = f"The fields and names of files of a form have at most {most} together."
            raise Problem("part-too-large", detail)

    def _require_known(self, name: str) -> None:
        if self._known_fields is None or name in self._known_fields:
            return
        if name == "images":
            raise refused_part(name, "Send it as a file, with a `filename`.")
        known = ", ".join(f"`{field}`" for field in sorted({"images", *self._known_fields}))
        raise refused_part(name, f"There is no such field here, only {known}.")

    def _digest_header(self, name: str, filename: bytes | None) -> None:
        head = f"{len(name)}:{name}".encode("utf-8", "replace")
        self.digest.update(head + b"|" + (filename if filename is not None else b"\0") + b"|")

    def _data(self, data: bytes, start: int, end: int) -> None:
        piece = data[start:end]
        self.digest.update(piece)
        if self._file is not None:
            self.pending += piece
            self._file.size += len(piece)
            self._offset += len(piece)
            return
        self._field_value += piece
        self._count(len(piece), len(piece))
        is_json = self._field_name in ("manifest", "options")
        if len(self._field_value) > (MAX_JSON_FIELD_BYTES if is_json else MAX_FIELD_BYTES):
            raise Problem("part-too-large")

    def _end(self) -> None:
        if self._file is not None:
            self.form.files.append(self._file)
            self._file = None
            return
        try:
            value = self._field_value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise Problem("malformed-multipart", "A form field is not UTF-8.") from error
        # The bytes of the field make way for its text, in which one wide character makes all others wide.
        self._held += sys.getsizeof(value) - len(self._field_value)
        self.form.fields.append((self._field_name, value))

    def _finish(self) -> None:
        self.is_complete = True
