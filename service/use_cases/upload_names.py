"""Which classes the names of files and folders say, before any image is sent."""

from typing import Any

from fastapi import Request

from service.dependencies import AppContext
from service.intake.placing import SPLITS_OPTION, as_json
from service.intake.uploads import Upload, read_upload
from service.problems import Problem
from service.schemas.tasks import TaskQuery


async def read_names(request: Request, context: AppContext) -> dict[str, Any]:
    """Read the names of an upload's files as they will be read when it is learned, without looking at the images.

    The files of the form may be as short as their first bytes, since no image is decoded; tables of labels are whole.

    Returns:
        `files` with index, label and split of each image; `notes` on how the folders were read; `is_guess`, whether
        somebody should look before anything is learned.

    Raises:
        Problem: What is wrong with the form, or `layout-unclear`, if the folders do not say what the images show.
    """
    with Upload() as upload:
        try:
            await read_upload(
                request, TaskQuery(), context.settings, upload, context.decoder.unpacking
            )
        except Problem as problem:
            # An option for programs: what a person does about it is to name the classes.
            detail = problem.detail.removesuffix(SPLITS_OPTION)
            raise Problem(problem.code, detail, errors=problem.errors) from problem
        layout = upload.layout
        return {
            "files": [
                {"index": image.index, "label": image.label, "split": image.split}
                for image in upload.images
            ],
            "notes": [] if layout is None else as_json(layout)["notes"],
            "is_guess": layout is not None and layout.is_guess,
        }
