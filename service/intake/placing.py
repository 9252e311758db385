"""From the files of an upload to images with labels: what the reader of layouts says, in the words of the API."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.characters import unfit
from service.labels import clean_filename, label_at
from service.layout.errors import LayoutError, NoImagesError, StraySplitError
from service.layout.layouts import Entry, Layout
from service.layout.reading import read_layout
from service.layout.tables import Row, Table
from service.problems import FieldError, Problem
from service.schemas.tasks import ManifestEntry, TaskOptions

MAX_NAMED = 100
"""Files left out that are named; the others are counted."""
MAX_SHOWN = 1000
"""Characters of one sentence about names that came from outside."""
SPLITS_OPTION = " Then send `splits=false`."
"""What programs can do about a folder that is named like a split."""


@dataclass(frozen=True)
class RawImage:
    """One encoded image and what the sender says about it."""

    index: int
    filename: str | None
    label: str
    split: str
    offset: int
    size: int


@dataclass(frozen=True)
class RawFile:
    """A file of an archive or a form: what the reader of layouts sees of it, and where in the spool its bytes lie."""

    entry: Entry
    offset: int
    size: int


def place(
    files: Sequence[RawFile],
    options: TaskOptions,
    manifest: Mapping[str, ManifestEntry] | None = None,
    *,
    is_form: bool = False,
) -> tuple[list[RawImage], Layout]:
    """Say which files are images of which class.

    Args:
        files: In the order they came.
        options: `splits` says whether some folders name splits.
        manifest: Labels by path, instead of folders.
        is_form: Whether an image's index is the number of its part, as for a form, or counts the images only.

    Raises:
        Problem: `layout-unclear`, `missing-image`, or what is wrong with a label.
    """
    listed = None if not manifest else _listed(manifest)
    try:
        layout = read_layout(
            [file.entry for file in files], use_splits=options.splits, listed=listed
        )
        layout.require_training()
    except LayoutError as error:
        raise _problem(error) from error
    images = []
    for number, placed in enumerate(layout.images):
        index = placed.position if is_form else number
        file = files[placed.position]
        label = label_at(placed.label, f"/images/{index}", shown(str(placed.path)))
        name = clean_filename(placed.path.name)
        images.append(RawImage(index, name, label, placed.split, file.offset, file.size))
    return images, layout


def as_json(layout: Layout) -> dict[str, Any]:
    """Return how folders were read as a task keeps it."""
    counts = Counter(item.reason for item in layout.left_out)
    return {
        "splits": {shown(name): use for name, use in (layout.splits or {}).items()},
        "tables": [shown(str(path)) for path in layout.tables],
        "notes": [shown(note) for note in layout.notes],
        "left_out": counts.total(),
        "left_out_files": [
            {"path": shown(str(item.path)), "reason": item.reason}
            for item in layout.left_out[:MAX_NAMED]
        ],
    }


def shown(text: str) -> str:
    """Return text with names from outside in it as it may be shown: printable and not too long."""
    refused = set(unfit(text))
    kept = "".join(c for i, c in enumerate(text) if i not in refused)
    return kept if len(kept) <= MAX_SHOWN else kept[: MAX_SHOWN - 1] + "\u2026"


def _listed(manifest: Mapping[str, ManifestEntry]) -> Table:
    rows = tuple(
        Row(file, entry.label, None if entry.split == "auto" else entry.split)
        for file, entry in manifest.items()
    )
    return Table(None, rows)


def _problem(error: LayoutError) -> Problem:
    if isinstance(error, NoImagesError):
        return Problem("missing-image", shown(error.sentence))
    detail = shown(error.sentence)
    if isinstance(error, StraySplitError):
        detail += SPLITS_OPTION
    errors = tuple(
        FieldError(
            "", "It is one of the files that this is about.", extra={"filename": shown(path)}
        )
        for path in error.paths
    )
    return Problem("layout-unclear", detail, errors=errors)
