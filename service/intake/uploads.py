"""Reading the images of a new task in all the forms a client may send them.

Each form ends as the same thing: a spool with the encoded files, and a list that says which bytes carry which label.
"""

import base64
import binascii
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import PurePosixPath
from types import TracebackType
from typing import Any, Self

from fastapi import Request
from pydantic import TypeAdapter, ValidationError
from starlette.concurrency import run_in_threadpool

from service.http.middleware import limit_body
from service.http.problems import FieldError, Problem
from service.http.strict_json import media_type, parse_json
from service.http.validation import field_errors
from service.intake.archives import ArchiveLimits, unpack
from service.intake.labels import clean_filename, label_at
from service.intake.multipart import FilePart, Form, read_form, refused_part
from service.intake.splitting import AUTO, EVAL, TRAIN
from service.intake.spool import Spool
from service.schemas.tasks import ManifestEntry, TaskCreate, TaskOptions, TaskQuery
from service.settings import ServiceSettings

ARCHIVE_TYPES = ("application/zip", "application/x-tar", "application/gzip")
_FIELDS = frozenset({"labels", "manifest", "options"})
"""Fields of the form beside the files."""
_MANIFEST = TypeAdapter(dict[str, ManifestEntry])


@dataclass(frozen=True)
class RawImage:
    """One encoded image and what the sender says about it."""

    index: int
    filename: str | None
    label: str
    split: str
    offset: int
    size: int


class Upload:
    """The encoded images of one task, gone when the context ends."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.spool = self._stack.enter_context(Spool())
        self.images: list[RawImage] = []
        self.options = TaskOptions()
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
    request: Request, query: TaskQuery, settings: ServiceSettings, upload: Upload
) -> None:
    """Fill `upload` from the request's body.

    Raises:
        Problem: If the body is none of the forms, too large, or labels are missing or invalid.
    """
    kind = media_type(request)
    base = _query_options(query)
    if kind == "multipart/form-data":
        await _read_multipart(request, base, settings, upload)
    elif kind == "application/json":
        limit_body(request, settings.max_json_task_bytes)
        body = await request.body()
        await run_in_threadpool(_read_json, body, base, settings, upload)
    elif kind in ARCHIVE_TYPES:
        await _read_archive(request, base, settings, upload)
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
    request: Request, base: dict[str, Any], settings: ServiceSettings, upload: Upload
) -> None:
    count = settings.max_task_images
    form = await read_form(
        request, upload.spool, max_files=count, max_fields=count + 8, known_fields=_FIELDS
    )
    await run_in_threadpool(_take_form, form, base, upload)


def _take_form(form: Form, base: dict[str, Any], upload: Upload) -> None:
    """Read options and labels off a form. Off the event loop: there may be 20,000 of them."""
    fields: dict[str, list[str]] = {name: [] for name in _FIELDS}
    for name, value in form.fields:
        fields[name].append(value)
    for part in form.files:
        if part.name != "images":
            raise refused_part(part.name, "Send files as parts `images`.")
    upload.options = _options(base, _json_field(fields["options"], "options"))
    manifest = _manifest(fields["manifest"])
    upload.images = _labelled(form, fields["labels"], manifest)
    upload.digest = form.digest


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
    folders = PurePosixPath(part.filename.replace("\\", "/")).parts[:-1]
    pointer = f"/images/{index}"
    if len(folders) >= 2 and folders[-2] in (TRAIN, EVAL):
        return label_at(folders[-1], pointer, name), folders[-2]
    if not folders or folders[-1] in ("/", "..") or manifest:
        detail = "The image has no label: send `labels`, a `manifest`, or filenames `label/file`."
        raise Problem("validation", errors=(FieldError(pointer, detail),))
    return label_at(folders[-1], pointer, name), AUTO


async def _read_archive(
    request: Request, base: dict[str, Any], settings: ServiceSettings, upload: Upload
) -> None:
    upload.options = _options(base, {})
    with Spool() as archive:
        pending = bytearray()
        async for chunk in request.stream():
            pending += chunk
            if len(pending) >= 1 << 20:
                await run_in_threadpool(archive.append, bytes(pending))
                pending.clear()
        archive.append(bytes(pending))
        limits = ArchiveLimits(
            settings.max_task_images, settings.max_task_bytes, settings.max_image_bytes
        )
        await run_in_threadpool(_take_archive, archive, limits, upload)


def _take_archive(archive: Spool, limits: ArchiveLimits, upload: Upload) -> None:
    upload.digest = archive.digest()
    upload.images = [
        RawImage(
            i,
            clean_filename(entry.filename),
            label_at(entry.label, f"/images/{i}", clean_filename(entry.filename)),
            entry.split,
            entry.offset,
            entry.size,
        )
        for i, entry in enumerate(unpack(archive, upload.spool, limits))
    ]


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
