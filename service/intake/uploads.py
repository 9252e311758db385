"""Reading the images of a new task in all the forms a client may send them.

Each form ends as the same thing: a spool with the encoded files, and a list that says which bytes carry which label.
"""

import base64
import binascii
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import PurePosixPath
from types import TracebackType
from typing import Any, Self

from anyio import CapacityLimiter, to_thread
from fastapi import Request
from pydantic import TypeAdapter, ValidationError
from starlette.concurrency import run_in_threadpool

from service.http.bodies import limit_body
from service.intake.archive_kinds import HEAD_BYTES, MEDIA_TYPES, UNSPECIFIC_TYPES, kind_of
from service.intake.archives import ArchiveLimits, unpack
from service.intake.multipart import FilePart, Form, read_form, refused_part
from service.intake.placing import RawFile, RawImage, place
from service.intake.spool import Spool
from service.labels import clean_filename, label_at
from service.layout.layouts import Entry, Layout
from service.layout.names import AUTO, needs_look
from service.layout.names import HEAD_BYTES as IMAGE_HEAD_BYTES
from service.layout.tables import MAX_TABLE_BYTES, MAX_TABLES_BYTES, is_table_name
from service.problems import FieldError, Problem
from service.schemas.tasks import ManifestEntry, TaskCreate, TaskOptions, TaskQuery
from service.settings import ServiceSettings
from service.strict_json import media_type, parse_json
from service.validation import field_errors

ARCHIVE_SUFFIXES = (".zip", ".tar", ".gz", ".tgz", ".xz", ".txz", ".bz2", ".tbz2", ".7z", ".rar")
"""Ends of names for which a file among others is looked at."""
_PIECE_BYTES = 1 << 20
_FIELDS = frozenset({"labels", "manifest", "options"})
"""Fields of the form beside the files."""
_MANIFEST = TypeAdapter(dict[str, ManifestEntry])


class Upload:
    """The encoded images of one task, gone when the context ends."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.spool = self._stack.enter_context(Spool())
        self.images: list[RawImage] = []
        self.options = TaskOptions()
        self.layout: Layout | None = None
        """How folders were read, where labels came from folders."""
        self.digest = ""
        """Fingerprint of the request's content, for Idempotency-Key."""

    def relabel(self, label_of: Callable[[str], str]) -> None:
        """Put the labels that classes were learned with in the place of what they are called."""
        self.images = [replace(image, label=label_of(image.label)) for image in self.images]

    def read(self, image: RawImage) -> bytes:
        """Return the encoded bytes of an image."""
        return self.spool.read(image.offset, image.size)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()


async def read_upload(
    request: Request,
    query: TaskQuery,
    settings: ServiceSettings,
    upload: Upload,
    unpacking: CapacityLimiter,
) -> None:
    """Fill `upload` from the request's body.

    Args:
        request: Whose body it is.
        query: Options in its address.
        settings: How much is taken.
        upload: To fill.
        unpacking: Bounds how many are taken apart at once, so that they never take the threads of other requests.

    Raises:
        Problem: If the body is none of the forms, too large, or labels are missing or invalid.
    """
    kind = media_type(request)
    base = _query_options(query)
    if kind == "multipart/form-data":
        await _read_multipart(request, base, settings, upload, unpacking)
    elif kind == "application/json":
        limit_body(request, settings.max_json_task_bytes)
        body = await request.body()
        await to_thread.run_sync(_read_json, body, base, settings, upload, limiter=unpacking)
    elif kind in MEDIA_TYPES or kind in UNSPECIFIC_TYPES:
        await _read_archive(request, kind, base, settings, upload, unpacking)
    else:
        raise Problem("unsupported-media-type")
    if not upload.images and not upload.options.from_feedback:
        raise Problem("missing-image")
    salted = f"{request.url.query}\n{upload.digest}".encode("utf-8", "replace")
    upload.digest = sha256(salted).hexdigest()


def _query_options(query: TaskQuery) -> dict[str, Any]:
    options = query.model_dump(exclude_unset=True)
    if "config" in options:
        options["config"] = parse_json(query.config.encode("utf-8", "replace"))
    return options


def _options(base: dict[str, Any], own: object) -> TaskOptions:
    if not isinstance(own, dict):
        raise Problem("validation", errors=(FieldError("/options", "Send a JSON object."),))
    try:
        return TaskOptions.model_validate({**base, **own})
    except ValidationError as error:
        raise Problem("validation", errors=field_errors(error.errors(), "/options")) from error


async def _read_multipart(
    request: Request,
    base: dict[str, Any],
    settings: ServiceSettings,
    upload: Upload,
    unpacking: CapacityLimiter,
) -> None:
    count = settings.max_task_images
    form = await read_form(
        request, upload.spool, max_files=count, max_fields=count + 8, known_fields=_FIELDS
    )
    await to_thread.run_sync(_take_form, form, base, settings, upload, limiter=unpacking)


def _take_form(form: Form, base: dict[str, Any], settings: ServiceSettings, upload: Upload) -> None:
    """Read options and labels off a form. Off the event loop: there may be 20,000 of them."""
    fields: dict[str, list[str]] = {name: [] for name in _FIELDS}
    for name, value in form.fields:
        fields[name].append(value)
    upload.options = _options(base, _json_field(fields["options"], "options"))
    manifest = _manifest(fields["manifest"])
    upload.digest = form.digest
    packed = find_archive(form, upload.spool)
    if packed is not None:
        _take_packed(packed, fields["labels"], manifest, settings, upload)
        return
    for part in form.files:
        if part.name != "images":
            raise refused_part(part.name, "Send files as parts `images`.")
    if fields["labels"] or manifest or not form.files:
        upload.images = _labelled(form, fields["labels"], manifest)
    else:
        _place(_named_files(form, upload), upload, is_form=True)


def find_archive(form: Form, spool: Spool) -> FilePart | None:
    """Return the archive that a form has in place of images, if it has one.

    A file is one by its first bytes, which are looked at where it is alone or its name says so.

    Raises:
        Problem: `archive-rejected`, if there are other files beside it.
    """
    for part in form.files:
        if len(form.files) > 1 and not part.filename.casefold().endswith(ARCHIVE_SUFFIXES):
            continue
        if kind_of(spool.read(part.offset, min(part.size, HEAD_BYTES))) is None:
            continue
        if len(form.files) > 1:
            raise Problem(
                "archive-rejected", "Send one archive by itself, with no other file beside it."
            )
        return part
    return None


@contextmanager
def spooled(part: FilePart, spool: Spool) -> Iterator[Spool]:
    """Hold one file of a form in a spool of its own."""
    with Spool() as alone:
        for at in range(0, part.size, _PIECE_BYTES):
            alone.append(spool.read(part.offset + at, min(_PIECE_BYTES, part.size - at)))
        yield alone


def _take_packed(
    part: FilePart,
    labels: Sequence[str],
    manifest: dict[str, ManifestEntry],
    settings: ServiceSettings,
    upload: Upload,
) -> None:
    if labels:
        detail = (
            "An archive brings its labels along, as the names of its folders: leave `labels` out."
        )
        raise Problem("validation", errors=(FieldError("/labels", detail),))
    with spooled(part, upload.spool) as archive:
        _take_archive(archive, settings, upload, manifest)


def _named_files(form: Form, upload: Upload) -> list[RawFile]:
    """Return the files of a form whose names say what they show."""
    files = []
    left = MAX_TABLES_BYTES
    for index, part in enumerate(form.files):
        path = PurePosixPath(part.filename.replace("\\", "/"))
        if len(path.parts) < 2 or path.is_absolute() or ".." in path.parts:
            detail = (
                "The image has no label: send `labels`, a `manifest`, or filenames `label/file`."
            )
            raise Problem("validation", errors=(FieldError(f"/images/{index}", detail),))
        size = 0
        if is_table_name(path.name):
            size = min(MAX_TABLE_BYTES + 1, left)
            left -= min(size, part.size)
        elif needs_look(path):
            size = IMAGE_HEAD_BYTES
        head = upload.spool.read(part.offset, min(part.size, size)) if size else b""
        files.append(RawFile(Entry(path, head), part.offset, part.size))
    return files


def _place(
    files: Sequence[RawFile],
    upload: Upload,
    manifest: dict[str, ManifestEntry] | None = None,
    *,
    is_form: bool = False,
) -> None:
    upload.images, upload.layout = place(files, upload.options, manifest, is_form=is_form)


def _json_field(values: Sequence[str], name: str) -> Any:
    if len(values) > 1:
        raise Problem("validation", errors=(FieldError(f"/{name}", "Send it once."),))
    return parse_json(values[0].encode()) if values else {}


def _manifest(values: Sequence[str]) -> dict[str, ManifestEntry]:
    try:
        return _MANIFEST.validate_python(_json_field(values, "manifest"))
    except ValidationError as error:
        raise Problem("validation", errors=field_errors(error.errors(), "/manifest")) from error


def _labelled(
    form: Form, labels: Sequence[str], manifest: dict[str, ManifestEntry]
) -> list[RawImage]:
    if labels and len(labels) not in (1, len(form.files)):
        detail = (
            f"There are {len(form.files)} images and {len(labels)} labels: "
            "send one label an image, or one for all."
        )
        raise Problem("validation", errors=(FieldError("/labels", detail),))
    images = []
    for index, part in enumerate(form.files):
        given = labels[index if len(labels) > 1 else 0] if labels else None
        label, split = _label_of(part, index, given, manifest)
        name = clean_filename(part.filename)
        images.append(RawImage(index, name, label, split, part.offset, part.size))
    return images


def _label_of(
    part: FilePart, index: int, given: str | None, manifest: dict[str, ManifestEntry]
) -> tuple[str, str]:
    entry = manifest.get(part.filename)
    name = clean_filename(part.filename)
    if entry is not None:
        return entry.label, entry.split
    if given is not None:
        return label_at(given, f"/labels/{index}", name), AUTO
    detail = "The `manifest` does not name this image."
    raise Problem("validation", errors=(FieldError(f"/images/{index}", detail),))


async def _read_archive(
    request: Request,
    kind: str,
    base: dict[str, Any],
    settings: ServiceSettings,
    upload: Upload,
    unpacking: CapacityLimiter,
) -> None:
    upload.options = _options(base, {})
    with Spool() as archive:
        upload.digest = await spool_archive(request, kind, archive)
        await to_thread.run_sync(_take_archive, archive, settings, upload, limiter=unpacking)


async def spool_archive(request: Request, kind: str, archive: Spool) -> str:
    """Write a body that is an archive into a spool, and return its fingerprint.

    Raises:
        Problem: `unsupported-media-type`, if the media type says nothing and it is none.
    """
    pending = bytearray()
    async for chunk in request.stream():
        pending += chunk
        if len(pending) >= _PIECE_BYTES:
            await run_in_threadpool(archive.append, bytes(pending))
            pending.clear()
    archive.append(bytes(pending))
    if kind in UNSPECIFIC_TYPES and kind_of(archive.read(0, HEAD_BYTES)) is None:
        raise Problem("unsupported-media-type")
    return await run_in_threadpool(archive.digest)


def _take_archive(
    archive: Spool,
    settings: ServiceSettings,
    upload: Upload,
    manifest: dict[str, ManifestEntry] | None = None,
) -> None:
    files = unpack(
        archive, upload.spool, archive_limits(settings), encoding=upload.options.encoding
    )
    _place(files, upload, manifest)


def archive_limits(settings: ServiceSettings) -> ArchiveLimits:
    """Return how much an archive may hold."""
    return ArchiveLimits(
        settings.max_task_images, settings.max_task_bytes, settings.max_image_bytes
    )


def _read_json(
    body: bytes, base: dict[str, Any], settings: ServiceSettings, upload: Upload
) -> None:
    value = parse_json(body)
    try:
        create = TaskCreate.model_validate(value)
    except ValidationError as error:
        raise Problem("validation", errors=field_errors(error.errors(), "")) from error
    if len(create.samples) > settings.max_task_images:
        raise Problem("too-many-images")
    upload.options = _options(base, value.get("options", {}))
    for index, sample in enumerate(create.samples):
        data = decode_base64(sample.image.base64, f"/samples/{index}/image/base64")
        name = clean_filename(sample.image.filename)
        image = RawImage(index, name, sample.label, sample.split, upload.spool.size, len(data))
        upload.images.append(image)
        upload.spool.append(data)
    upload.digest = sha256(body).hexdigest()


def decode_base64(text: str, pointer: str) -> bytes:
    """Decode standard base64.

    Raises:
        Problem: `validation`, if it is not.
    """
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        detail = "This is not standard base64 (RFC 4648, section 4)."
        raise Problem("validation", errors=(FieldError(pointer, detail),)) from error
