"""Labels from a table that lies beside the images, or from a list that came with them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from service.layout.errors import TableError
from service.layout.finding import ImageIndex, Match, match
from service.layout.layouts import UNLISTED, FoundImage, Layout, LeftOut, PlacedImage
from service.layout.names import AUTO, EVAL, TRAIN, fold, split_of
from service.layout.tables import Row, Table, several_labels


def read_list(table: Table, images: Sequence[FoundImage], left_out: Sequence[LeftOut]) -> Layout:
    """Read images as a list names them; nothing else counts.

    Raises:
        TableError: If it names none of the images, or contradicts itself.
    """
    return _placed(table, images, left_out)


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
    joined = _joined(tables)
    require_one_label(joined)
    layout = _placed(joined, images, left_out)
    read_from = {table.path for table in tables}
    splits = _splits(layout.images) if use_splits else {}
    return replace(
        layout,
        images=tuple(
            replace(image, split=splits.get(image.path, AUTO)) if image.split == AUTO else image
            for image in layout.images
        ),
        left_out=tuple(item for item in layout.left_out if item.path not in read_from),
        tables=tuple(table.path for table in tables if table.path is not None),
    )


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
    rows = match(_joined(tables), index).images
    if {rows[i].split if i in rows else None for i in range(len(layout.images))} != {TRAIN, EVAL}:
        return layout
    images = tuple(
        replace(image, split=rows[index].split or AUTO) for index, image in enumerate(layout.images)
    )
    note = "A table says which images are kept out to measure accuracy."
    return replace(layout, images=images, notes=(*layout.notes, note))


def disagreement(
    table: Table, layout: Layout, index: ImageIndex
) -> tuple[str, tuple[str, ...]] | None:
    """Return what to say, and of which image, where a table calls one otherwise than its folder does; else None.

    A table that numbers the classes or calls each by another name contradicts nothing, nor does one that numbers the
    images, or says what classes are called.
    """
    rows = match(table, index).images
    folders = {fold(label) for label in layout.classes}
    if _is_of_something_else(table, rows, folders):
        return None
    names: dict[str, str] = {}
    for at, row in rows.items():
        image = layout.images[at]
        said, lies_in = fold(row.label), fold(image.label)
        other = names.setdefault(lies_in, said)
        if said != lies_in and (said in folders or said != other):
            sentence = (
                f"{_name(table)} calls {image.path} {row.label!r}, and its folder calls it {image.label!r}: remove the "
                "table, or put all images into one folder."
            )
            return sentence, (str(image.path),)
    return None


def _is_of_something_else(table: Table, rows: Mapping[int, Row], folders: set[str]) -> bool:
    said = {fold(row.label) for row in rows.values()}
    are_numbered = len(said) == len(rows) > len(folders)
    return are_numbered or {fold(row.file) for row in table.rows} <= folders


def _placed(table: Table, images: Sequence[FoundImage], left_out: Sequence[LeftOut]) -> Layout:
    found = match(table, ImageIndex([image.path for image in images]))
    if not found.images:
        raise TableError(
            f"None of the {len(table.rows)} rows of {_name(table)} names one of the {len(images)} images.",
            tuple(row.file for row in table.rows),
        )
    placed = tuple(
        PlacedImage(images[index].position, images[index].path, row.label, row.split or AUTO)
        for index, row in sorted(found.images.items())
    )
    unlisted = [
        LeftOut(image.path, UNLISTED)
        for index, image in enumerate(images)
        if index not in found.images
    ]
    return Layout(
        images=placed,
        left_out=(*(item for item in left_out if item.path != table.path), *unlisted),
        tables=() if table.path is None else (table.path,),
        notes=_notes(table, found, len(images)),
        is_guess=bool(unlisted or found.missing or table.unsure),
    )


def _notes(table: Table, found: Match, n_images: int) -> tuple[str, ...]:
    named = len(found.images)
    column = f"the column {table.unsure!r} of " if table.unsure else ""
    notes = [
        f"Labels are read from {column}{_name(table)}, which names {named} of {n_images} images."
    ]
    if found.missing:
        notes.append(f"{len(found.missing)} of its rows name no image that is there.")
    return tuple(notes)


def _splits(images: Sequence[PlacedImage]) -> dict[PurePosixPath, str]:
    """Return what the folders say that images are for, if they say both."""
    found = {
        image.path: split
        for image in images
        for split in map(split_of, image.path.parent.parts)
        if split is not None
    }
    return found if set(found.values()) == {TRAIN, EVAL} else {}


def _joined(tables: Sequence[Table]) -> Table:
    """Return several tables, one in each split folder for example, as one with whole paths."""
    if len(tables) == 1:
        return tables[0]
    rows = [
        Row(str(_folder(table) / row.file), row.label, row.split or table.split)
        for table in tables
        for row in table.rows
    ]
    unsure = next((table.unsure for table in tables if table.unsure), None)
    return Table(None, tuple(rows), unsure=unsure)


def _folder(table: Table) -> PurePosixPath:
    return table.path.parent if table.path else PurePosixPath()


def _name(table: Table) -> str:
    return table.path.name if table.path else "the list of labels"
