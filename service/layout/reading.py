"""The reader of layouts: from the names of files to images with a class and a split, or a refusal that says why.

The rule a person can keep in mind: *an image shows what the folder says that it lies in*. Folders around that one wrap
it, folders of splits say what the images are for, and where the depth differs nothing is guessed. A table of labels
says what folders leave open.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import PurePosixPath

from service.layout.by_folders import read_folders
from service.layout.by_table import coarser, complete, disagreement, read_list, read_table
from service.layout.doubts import unread
from service.layout.errors import LayoutError, NoImagesError, StraySplitError, TableError
from service.layout.finding import ImageIndex, match
from service.layout.layouts import NO_IMAGE, SYSTEM, Entry, FoundImage, Layout, LeftOut
from service.layout.names import MAX_PATH, fold, is_passed_over, may_be_image
from service.layout.tables import MANIFEST, Table, is_table_name, parse_table


def read_layout(
    entries: Sequence[Entry], *, use_splits: bool = True, listed: Table | None = None
) -> Layout:
    """Say which files are images of which class.

    Args:
        entries: All files.
        use_splits: Whether `train`, `test` and their like name splits. Without, they name classes as any other folder.
        listed: A list of files with their labels. It decides alone: what it does not name is left out.

    Raises:
        NoImagesError: If there is no image.
        LayoutError: If the folders allow more than one reading, or none.
        TableError: If a table cannot be read, or contradicts itself or the folders.
    """
    images, offered, left_out = _sort(entries)
    if not images:
        reason = f"none of {len(entries)} files is one" if entries else "there is no file"
        error = NoImagesError(
            f"There is no image: {reason}.", tuple(str(item.path) for item in left_out)
        )
        for sentence in islice(unread(left_out), 1):
            error.add(sentence)
        raise error
    if listed is not None:
        return read_list(listed, images, left_out)
    tables = _read_tables(offered, [image.path for image in images])
    for table in tables.read:
        if table.path is not None and fold(table.path.stem) == MANIFEST:
            return read_list(table, images, left_out)
    return _by_folders_or_tables(images, tables, left_out, use_splits=use_splits)


def _sort(entries: Sequence[Entry]) -> tuple[list[FoundImage], list[Entry], list[LeftOut]]:
    """Tell images, what may be tables, and the rest apart; a table is left out until it is used."""
    images: list[FoundImage] = []
    tables: list[Entry] = []
    left_out: list[LeftOut] = []
    for position, entry in enumerate(entries):
        if len(str(entry.path)) > MAX_PATH:
            raise LayoutError(f"A path has more than {MAX_PATH} characters.", (str(entry.path),))
        if is_passed_over(entry.path):
            left_out.append(LeftOut(entry.path, SYSTEM))
        elif may_be_image(entry.path, entry.head):
            images.append(FoundImage(position, entry.path))
        else:
            left_out.append(LeftOut(entry.path, NO_IMAGE))
            tables += [entry] * is_table_name(entry.path.name)
    return images, tables, left_out


@dataclass
class _Tables:
    """The tables that lie beside the images."""

    index: ImageIndex
    read: list[Table] = field(default_factory=list)
    usable: list[Table] = field(default_factory=list)
    """Those that name some of the images."""
    damage: TableError | None = None
    """What is wrong with the first that is not usable for that."""
    unused: list[str] = field(default_factory=list)
    """Why others say nothing, in sentences."""


def _read_tables(offered: Sequence[Entry], paths: Sequence[PurePosixPath]) -> _Tables:
    """Read tables; what is wrong with one matters only where the folders do not say enough."""
    tables = _Tables(ImageIndex(paths if offered else ()))
    for entry in offered:
        try:
            table = parse_table(entry.head, entry.path)
            if table is None or not table.rows:
                tables.unused.append(
                    f"{entry.path} was not used: it has no columns of files and labels, as in filename,label."
                )
                continue
            tables.read.append(table)
            _sort_in(table, tables)
        except TableError as error:
            tables.damage = tables.damage or error
    return tables


def _sort_in(table: Table, tables: _Tables) -> None:
    if match(table, tables.index).images:
        tables.usable.append(table)
    else:
        tables.unused.append(
            f"{table.path} was not used: none of its {len(table.rows)} rows names one of the images. Its first is "
            f"{table.rows[0].file!r}."
        )


def _by_folders_or_tables(
    images: list[FoundImage], tables: _Tables, left_out: list[LeftOut], *, use_splits: bool
) -> Layout:
    usable = tables.usable
    try:
        layout = read_folders(images, left_out, use_splits=use_splits)
    except LayoutError as error:
        if tables.damage is not None:
            raise tables.damage from None
        if not usable:
            _explain(error, tables, left_out)
            raise
        return read_table(usable, images, left_out, use_splits=use_splits)
    folders = {fold(label) for label in layout.classes}
    if len(folders) == 1:
        return _of_one_class(layout, tables, images, left_out, use_splits=use_splits)
    for table in usable:
        contradiction = disagreement(table, layout, tables.index, folders)
        if contradiction is not None:
            raise TableError(*contradiction)
        note = coarser(table, layout, tables.index, folders)
        if note is not None:
            layout = replace(layout, notes=(*layout.notes, note), is_guess=True)
    return complete(usable, layout, tables.index) if usable else layout


def _of_one_class(
    layout: Layout,
    tables: _Tables,
    images: list[FoundImage],
    left_out: list[LeftOut],
    *,
    use_splits: bool,
) -> Layout:
    """Take what a table says before the one folder that all images lie in, unless they are at odds."""
    if not tables.usable:
        if tables.damage is None:
            return layout
        note = f"A table beside the images was not used. {tables.damage.sentence}"
        return replace(layout, notes=(*layout.notes, note), is_guess=True)
    label = layout.images[0].label
    listed = {fold(row.label) for table in tables.usable for row in table.rows}
    if fold(label) in listed and len(listed) > 1:
        table = tables.usable[0]
        raise TableError(
            f"{table.path} knows classes beside {label!r}, and all images lie in a folder of that name: remove the "
            "table, or call the folder otherwise.",
            (str(table.path),),
        )
    return read_table(tables.usable, images, left_out, use_splits=use_splits)


def _explain(error: LayoutError, tables: _Tables, left_out: Sequence[LeftOut]) -> None:
    """Add why what lies beside the images did not help."""
    if isinstance(error, StraySplitError):
        return
    known = {table.path for table in tables.read if table.path is not None}
    for sentence in tables.unused[:1] or islice(unread(left_out, known), 1):
        error.add(sentence)
