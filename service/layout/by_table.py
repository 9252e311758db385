"""Labels from a table that lies beside the images, or from a list that came with them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from service.layout.errors import MOST_NAMED, TableError
from service.layout.finding import ImageIndex, Match, match
from service.layout.layouts import UNLISTED, FoundImage, Layout, LeftOut, PlacedImage
from service.layout.names import AUTO, EVAL, TRAIN, fold, split_of
from service.layout.tables import Row, Table, several_labels


def read_list(table: Table, images: Sequence[FoundImage], left_out: Sequence[LeftOut]) -> Layout:
    """Read images as a list names them; nothing else counts.

    Raises:
        TableError: If it names none of the images, or contradicts itself.
    """
    return _placed((table,), images, left_out)


def read_table(
    tables: Sequence[Table],
    images: Sequence[FoundImage],
    left_out: Sequence[LeftOut],
    *,
    use_splits: bool,
) -> Layout:
    """Read images as tables beside them say, and splits as the tables or, where they are silent, the folders say.

    Raises:
        TableError: If a table contradicts itself.
    """
    for table in tables:
        require_one_label(table)
    layout = _placed(tables, images, left_out)
    splits = _splits(layout.images) if use_splits else {}
    placed = tuple(
        replace(image, split=splits.get(image.path, AUTO)) if image.split == AUTO else image
        for image in layout.images
    )
    return replace(layout, images=placed)


def require_one_label(table: Table) -> None:
    """Refuse a table that gives an image several labels in one cell.

    Raises:
        TableError: With the first such label.
    """
    several = several_labels(table)
    if several is not None:
        raise TableError(
            f"{_name(table)} says {several!r}, which is several labels: an image shows one class here. Keep one label "
            "a row."
        )


def complete(tables: Sequence[Table], layout: Layout, index: ImageIndex) -> Layout:
    """Add the splits that tables know of to a layout read from folders without any."""
    if layout.splits is not None or not tables:
        return layout
    rows = _joined(tables, index).images
    if {rows[i].split if i in rows else None for i in range(len(layout.images))} != {TRAIN, EVAL}:
        return layout
    images = tuple(
        replace(image, split=rows[index].split or AUTO) for index, image in enumerate(layout.images)
    )
    note = "A table says which images are kept out to measure accuracy."
    return replace(layout, images=images, notes=(*layout.notes, note))


def disagreement(
    table: Table, layout: Layout, index: ImageIndex, folders: set[str]
) -> tuple[str, tuple[str, ...]] | None:
    """Return what to say, and of which image, where a table calls one otherwise than its folder does; else None.

    A table that numbers the classes or calls each by another name contradicts nothing, nor does one that numbers the
    images, or says what classes are called.

    Args:
        table: It.
        layout: As the folders say.
        index: Of the images of the layout.
        folders: Its labels, folded.
    """
    rows = match(table, index).images
    if _is_of_something_else(table, rows, folders):
        return None
    names: dict[str, str] = {}
    for at, row in rows.items():
        image = layout.images[at]
        listed, lies_in = fold(row.label), fold(image.label)
        other = names.setdefault(lies_in, listed)
        if listed != lies_in and (listed in folders or listed != other):
            sentence = (
                f"{_name(table)} calls {image.path} {row.label!r}, and its folder calls it {image.label!r}: remove the "
                "table, or put all images into one folder."
            )
            return sentence, (str(image.path),)
    return None


def coarser(table: Table, layout: Layout, index: ImageIndex, folders: set[str]) -> str | None:
    """Return what to say where a table calls several folders by one label, which is not used; else None."""
    rows = match(table, index).images
    if _is_of_something_else(table, rows, folders):
        return None
    around: dict[str, set[str]] = {}
    for at, row in rows.items():
        around.setdefault(row.label, set()).add(fold(layout.images[at].label))
    several = next((label for label, inside in around.items() if len(inside) > 1), None)
    if several is None:
        return None
    return f"{_name(table)} calls several of the folders {several!r}, and is not used: the folders are learned."


def _is_of_something_else(table: Table, rows: Mapping[int, Row], folders: set[str]) -> bool:
    labels = {fold(row.label) for row in rows.values()}
    are_numbered = len(labels) == len(rows) > len(folders)
    return are_numbered or {fold(row.file) for row in table.rows} <= folders


def _placed(
    tables: Sequence[Table], images: Sequence[FoundImage], left_out: Sequence[LeftOut]
) -> Layout:
    joined = _joined(tables, ImageIndex([image.path for image in images]))
    rows = [row for table in tables for row in table.rows]
    if not joined.images:
        raise TableError(
            f"None of the {len(rows)} rows of {_names(tables)} names one of the {len(images)} images.",
            tuple(row.file for row in rows[:MOST_NAMED]),
        )
    placed = tuple(
        PlacedImage(images[index].position, images[index].path, row.label, row.split or AUTO)
        for index, row in sorted(joined.images.items())
    )
    unlisted = [
        LeftOut(image.path, UNLISTED)
        for index, image in enumerate(images)
        if index not in joined.images
    ]
    read_from = {table.path for table in tables}
    unsure = next((table for table in tables if table.unsure), None)
    return Layout(
        images=placed,
        left_out=(*(item for item in left_out if item.path not in read_from), *unlisted),
        tables=tuple(table.path for table in tables if table.path is not None),
        notes=_notes(tables, unsure, joined, len(images)),
        is_guess=bool(unlisted or joined.missing or unsure),
    )


def _notes(
    tables: Sequence[Table], unsure: Table | None, joined: Match, n_images: int
) -> tuple[str, ...]:
    named = len(joined.images)
    column = f"the column {unsure.unsure!r} of " if unsure else ""
    name = "name" if len(tables) > 1 else "names"
    notes = [
        f"Labels are read from {column}{_names(tables)}, which {name} {named} of {n_images} images."
    ]
    if joined.missing:
        notes.append(f"{len(joined.missing)} of its rows name no image that is there.")
    return tuple(notes)


def _splits(images: Sequence[PlacedImage]) -> dict[PurePosixPath, str]:
    """Return what the folders say that images are for, if they say both."""
    splits = {
        image.path: split
        for image in images
        for split in map(split_of, image.path.parent.parts)
        if split is not None
    }
    return splits if set(splits.values()) == {TRAIN, EVAL} else {}


def _joined(tables: Sequence[Table], index: ImageIndex) -> Match:
    """Match several tables as one; where there is more than one, each says what its images are for.

    Raises:
        TableError: If two call one image by different labels.
    """
    joined: dict[int, Row] = {}
    missing: list[Row] = []
    for table in tables:
        rows = match(table, index)
        missing += rows.missing
        for at, row in rows.images.items():
            if at in joined and fold(joined[at].label) != fold(row.label):
                path = str(index.paths[at])
                raise TableError(
                    f"{path} has two labels in the tables: {joined[at].label!r} and {row.label!r}.",
                    (path,),
                )
            split = row.split or (table.split if len(tables) > 1 else None)
            joined[at] = replace(row, split=split)
    return Match(joined, tuple(missing))


def _names(tables: Sequence[Table]) -> str:
    names = [_name(table) for table in tables]
    return names[0] if len(names) == 1 else f"{names[0]} and others ({len(names)} tables)"


def _name(table: Table) -> str:
    return table.path.name if table.path else "the list"
