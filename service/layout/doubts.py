"""What makes the class folders that were found doubtful: refused where it cannot be meant, else said."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath

from service.layout.errors import LayoutError, StraySplitError
from service.layout.layouts import NO_IMAGE, Layout, LeftOut, PlacedImage, quoted
from service.layout.names import (
    EVAL,
    copied_from,
    fold,
    is_container,
    is_date,
    is_mask_folder,
    mask_of,
    word_before_split,
)

_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".xz", ".bz2", ".7z", ".rar")
_TABLES = (".csv", ".tsv", ".xlsx", ".xls", ".ods", ".json", ".jsonl", ".mat", ".parquet")
_NAME_WORD = re.compile(r"[^\W\d_]{2,}")


def require_no_masks(paths: Sequence[PurePosixPath]) -> None:
    """Refuse masks among photos, in a folder of their own or by their names."""
    folders: dict[PurePosixPath, PurePosixPath] = {}
    for path in paths:
        folders.setdefault(path.parent, path)
    around = defaultdict(list)
    for folder in folders:
        around[folder.parent].append(folder)
    for siblings in around.values():
        masks = [folder for folder in siblings if is_mask_folder(folder.name)]
        if masks and all(is_container(folder.name) for folder in siblings) and len(siblings) > 1:
            raise _masks(folders[masks[0]], f"in {masks[0].name!r} beside {siblings[0].name!r}")
    named = [(path, stem) for path in paths if (stem := mask_of(path.stem)) is not None]
    known = {path.with_suffix("") for path in paths} if named else set()
    for path, stem in named:
        if path.with_name(stem) in known:
            raise _masks(path, f"named like a mask of {stem!r} beside it")


def _masks(path: PurePosixPath, why: str) -> LayoutError:
    return LayoutError(
        f"{path} seems to be a mask and no photo: it lies {why}. Take masks out.", (str(path),)
    )


def require_clear_labels(images: Sequence[PlacedImage], *, use_splits: bool) -> None:
    """Refuse labels that are copies of one another, or hold the name of a split."""
    first: dict[str, PurePosixPath] = {}
    for image in images:
        first.setdefault(image.label, image.path)
    known = {fold(label) for label in first}
    for label, path in first.items():
        original = copied_from(label)
        if original and fold(original) in known:
            raise LayoutError(
                f"{label!r} looks like a copy of {original!r}: put the images of one class into one folder.",
                (str(path),),
            )
    if use_splits:
        _require_no_split_in_labels(first)


def _require_no_split_in_labels(first: Mapping[str, PurePosixPath]) -> None:
    seen: dict[tuple[str, ...], tuple[str, str]] = {}
    for label in first:
        parts = word_before_split(label)
        if parts is None:
            continue
        rest, use = parts
        other, other_use = seen.setdefault(rest, (label, use))
        if other_use != use:
            raise StraySplitError(
                f"{quoted([other, label])} name a split and a class in one: make folders as in "
                "train/heron/1.jpg and test/heron/2.jpg. If they are classes, say that there are no splits.",
                (str(first[other]), str(first[label])),
            )


def require_learned(images: Iterable[PlacedImage]) -> None:
    """Refuse classes that lie only among what is kept out, beside others that are learned."""
    learned: set[str] = set()
    held_out: dict[str, PurePosixPath] = {}
    for image in images:
        if image.split == EVAL:
            held_out.setdefault(image.label, image.path)
        else:
            learned.add(image.label)
    stray = {label: path for label, path in held_out.items() if label not in learned}
    if learned and stray:
        raise LayoutError(
            f"There is nothing to learn {quoted(stray)} from: all its images are kept out to measure accuracy "
            f"({next(iter(stray.values()))}). If it is no class, take it out; else put images of it among those to "
            "learn from.",
            tuple(map(str, stray.values())),
        )


def unread(left_out: Sequence[LeftOut], tables: Iterable[PurePosixPath] = ()) -> Iterator[str]:
    """Say which files might hold what is missing and were not read: archives in archives, tables of other names."""
    archive = _first(left_out, _ARCHIVES)
    if archive is not None:
        yield f"{archive} is an archive of its own, which is not unpacked: unpack it first."
    known = set(tables)
    table = _first([item for item in left_out if item.path not in known], _TABLES)
    if table is not None:
        yield f"{table} was not read: if it holds the labels, save it as labels.csv, with columns filename and label."


def _first(left_out: Sequence[LeftOut], ends: tuple[str, ...]) -> PurePosixPath | None:
    paths = (item.path for item in left_out if item.reason == NO_IMAGE)
    return next((path for path in paths if fold(path.name).endswith(ends)), None)


def doubts(layout: Layout) -> Iterator[str]:
    """Say what a person should look at before it is learned, of a layout read from folders."""
    labels = list(layout.classes)
    containers = [label for label in labels if is_container(label)]
    if containers:
        yield f"{quoted(containers)} is learned as a class like the others, though its name says little."
    if len(labels) > 1 and all(map(is_date, labels)):
        yield "The folders are named like dates, and are learned as classes."
    archive = next(unread([item for item in layout.left_out if _is_archive(item)]), None)
    if archive is not None:
        yield archive
    if len(labels) == 1:
        yield from _doubts_of_one(labels[0], layout)


def _is_archive(item: LeftOut) -> bool:
    return fold(item.path.name).endswith(_ARCHIVES)


def _doubts_of_one(label: str, layout: Layout) -> Iterator[str]:
    tables = [item for item in layout.left_out if not _is_archive(item)]
    for sentence in unread(tables):
        yield f"All images are of one class, {label!r}. {sentence}"
    words: dict[str, int] = defaultdict(int)
    for image in layout.images:
        word = _NAME_WORD.match(image.path.stem)
        words[fold(word[0]) if word else ""] += 1
    several = {word: n for word, n in words.items() if word and n > 1}
    if len(several) > 1 and sum(several.values()) == len(layout.images):
        yield (
            f"All images are of one class, {label!r}, though their names begin with {quoted(several)}: names of files "
            "are not taken apart."
        )


def empty_folders(layout: Layout) -> str | None:
    """Say which folders beside class folders hold files and no image; None if there is none."""
    holding_images = {image.path.parent for image in layout.images}
    holding = holding_images.union(*(folder.parents for folder in holding_images))
    beside = {folder.parent for folder in holding_images}
    empty = {
        folder.name: None
        for item in layout.left_out
        if item.reason == NO_IMAGE
        for folder in (item.path.parent,)
        if folder not in holding and folder.name and folder.parent in beside
    }
    return f"There is no image in {quoted(empty)}, which is no class." if empty else None
