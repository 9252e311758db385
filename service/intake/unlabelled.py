"""Reading many images without labels, for a prediction job: files of a form, or an archive."""

from hashlib import sha256

from anyio import CapacityLimiter, to_thread
from fastapi import Request

from service.intake.archive_kinds import MEDIA_TYPES, UNSPECIFIC_TYPES
from service.intake.archives import unpack
from service.intake.multipart import Form, read_form, refused_part
from service.intake.placing import RawFile, RawImage, shown
from service.intake.spool import Spool
from service.intake.uploads import (
    Upload,
    archive_limits,
    find_archive,
    spool_archive,
    spooled,
)
from service.labels import clean_filename
from service.layout.names import AUTO, is_passed_over, may_be_image
from service.layout.tables import is_table_name
from service.problems import Problem
from service.schemas.tasks import TaskOptions
from service.settings import ServiceSettings
from service.strict_json import media_type


def brings_images(request: Request) -> bool:
    """Return whether a request's body holds images, by its media type."""
    kind = media_type(request)
    return kind == "multipart/form-data" or kind in MEDIA_TYPES or kind in UNSPECIFIC_TYPES


async def read_unlabelled(
    request: Request,
    settings: ServiceSettings,
    upload: Upload,
    unpacking: CapacityLimiter,
    *,
    encoding: str | None = None,
) -> None:
    """Fill `upload` from the request's body. Labels stay empty; an archive's images are called by their paths in it.

    Args:
        request: Whose body it is.
        settings: How much is taken.
        upload: To fill. What is unusable in it will be left out by name.
        unpacking: As for `service.intake.uploads.read_upload`.
        encoding: Of names in an archive that do not say theirs.

    Raises:
        Problem: If the body is none of the forms, too large, or holds no image.
    """
    upload.options = TaskOptions(on_bad_image="skip", encoding=encoding)
    kind = media_type(request)
    if kind == "multipart/form-data":
        form = await read_form(
            request,
            upload.spool,
            max_files=settings.max_task_images,
            max_fields=0,
            known_fields=frozenset(),
        )
        upload.digest = form.digest
        await to_thread.run_sync(_take_form, form, settings, upload, limiter=unpacking)
    else:
        with Spool() as archive:
            upload.digest = await spool_archive(request, kind, archive)
            await to_thread.run_sync(_take_archive, archive, settings, upload, limiter=unpacking)
    if not upload.images:
        raise Problem("missing-image")
    salted = f"{request.url.query}\n{upload.digest}".encode("utf-8", "replace")
    upload.digest = sha256(salted).hexdigest()


def _take_form(form: Form, settings: ServiceSettings, upload: Upload) -> None:
    packed = find_archive(form, upload.spool)
    if packed is not None:
        with spooled(packed, upload.spool) as archive:
            _take_archive(archive, settings, upload)
        return
    for part in form.files:
        if part.name != "images":
            raise refused_part(part.name, "Send files as parts `images`.")
    upload.images = [
        RawImage(index, clean_filename(part.filename), "", AUTO, part.offset, part.size)
        for index, part in enumerate(form.files)
    ]


def _take_archive(archive: Spool, settings: ServiceSettings, upload: Upload) -> None:
    files = unpack(
        archive, upload.spool, archive_limits(settings), encoding=upload.options.encoding
    )
    upload.images = [
        RawImage(index, shown(str(file.entry.path)), "", AUTO, file.offset, file.size)
        for index, file in enumerate(filter(_is_image, files))
    ]


def _is_image(file: RawFile) -> bool:
    path = file.entry.path
    if is_passed_over(path) or is_table_name(path.name):
        return False
    return file.size > 0 or may_be_image(path, file.entry.head)
