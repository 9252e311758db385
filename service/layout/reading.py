"""The reader of layouts: from the names of files to images with a class and a split, or a refusal that says why.

The rule a person can keep in mind: *an image shows what the folder says that it lies in*. Folders around that one wrap
it, folders of splits say what the images are for, and where the depth differs nothing is guessed. A table of labels
says what folders leave open.
"""

from collections.abc import Sequence

from service.layout.by_folders import read_folders
from service.layout.by_table import complete, disagreement, read_list, read_table
from service.layout.errors import LayoutError, NoImagesError, TableError
from service.layout.layouts import NO_IMAGE, SYSTEM, Entry, FoundImage, Layout, LeftOut
from service.layout.names import fold, is_passed_over, may_be_image
from service.layout.tables import Table, is_table_name, match, parse_table

MANIFEST = "manifest"
"""Name, without its suffix, of a table that decides alone."""


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
        found = f"none of {len(entries)} files is one" if entries else "there is no file"
        raise NoImagesError(
            f"There is no image: {found}.", tuple(str(item.path) for item in left_out)
        )
    if listed is not None:
        return read_list(listed, images, left_out)
    tables, damage = _tables(offered)
    for table in tables:
        if table.path is not None and fold(table.path.stem) == MANIFEST:
            return read_list(table, images, left_out)
    return _by_folders_or_tables(images, tables, damage, left_out, use_splits=use_splits)


def _sort(entries: Sequence[Entry]) -> tuple[list[FoundImage], list[Entry], list[LeftOut]]:
    """Tell images, what may be tables, and the rest apart; a table is left out until it is used."""
    images: list[FoundImage] = []
    tables: list[Entry] = []
    left_out: list[LeftOut] = []
    for position, entry in enumerate(entries):
        if is_passed_over(entry.path):
            left_out.append(LeftOut(entry.path, SYSTEM))
        elif may_be_image(entry.path, entry.head):
            images.append(FoundImage(position, entry.path))
        else:
            left_out.append(LeftOut(entry.path, NO_IMAGE))
            tables += [entry] * is_table_name(entry.path.name)
    return images, tables, left_out


def _tables(offered: Sequence[Entry]) -> tuple[list[Table], TableError | None]:
    """Read tables; what is wrong with one matters only where the folders do not say enough."""
    tables: list[Table] = []
    damage: TableError | None = None
    for entry in offered:
        try:
            table = parse_table(entry.head, entry.path)
        except TableError as error:
            damage = damage or error
        else:
            tables += [] if table is None else [table]
    return tables, damage


def _by_folders_or_tables(
    images: list[FoundImage],
    tables: list[Table],
    damage: TableError | None,
    left_out: list[LeftOut],
    *,
    use_splits: bool,
) -> Layout:
    paths = [image.path for image in images]
    usable = [table for table in tables if match(table, paths).images]
    try:
        layout = read_folders(images, left_out, use_splits=use_splits)
    except LayoutError:
        if damage is not None:
            raise damage from None
        if not usable:
            raise
        return read_table(usable, images, left_out, use_splits=use_splits)
    if usable and len(layout.classes) == 1:
        return read_table(usable, images, left_out, use_splits=use_splits)
    for table in usable:
        contradiction = disagreement(table, layout)
        if contradiction is not None:
            raise TableError(*contradiction)
    return complete(usable, layout)
