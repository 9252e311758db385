"""Labels from the folders that images lie in."""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from service.layout.doubts import (
    doubts,
    empty_folders,
    require_clear_labels,
    require_learned,
    require_no_masks,
)
from service.layout.errors import WAYS, LayoutError, StraySplitError
from service.layout.layouts import FoundImage, Layout, LeftOut, PlacedImage, quoted
from service.layout.names import (
    AUTO,
    EVAL,
    TRAIN,
    are_parts,
    fold,
    is_container,
    split_of,
    splits_of,
)

Folders = tuple[str, ...]
"""The folders above an image, outermost first."""


def read_folders(
    images: Sequence[FoundImage], left_out: Sequence[LeftOut], *, use_splits: bool
) -> Layout:
    """Read the class of each image off the folder it lies in, and its split off a folder above.

    Raises:
        LayoutError: If the folders allow more than one reading, or none.
    """
    paths = [image.path for image in images]
    require_no_masks(paths)
    above = [path.parent.parts for path in paths]
    level, uses = _split_level(above, paths) if use_splits else (None, {})
    groups: dict[str, list[int]] = defaultdict(list)
    for index, folders in enumerate(above):
        groups["" if level is None else folders[level]].append(index)
    _require_class_folders(groups, above, paths, level)
    labels: dict[int, str] = {}
    is_deep = False
    for members in groups.values():
        named = [_without(above[index], level) for index in members]
        own, deep = _labels(named, [paths[index] for index in members])
        labels.update(zip(members, own, strict=True))
        is_deep = is_deep or deep
    _require_named(labels, paths)
    has_both = len(set(uses.values())) > 1
    only_train = set(uses.values()) == {TRAIN}
    # One class in several folders: it may be meant to be called by another of them.
    is_deep = is_deep or (len(set(labels.values())) == 1 and len(_class_folders(above[0])) > 1)
    placed = tuple(
        PlacedImage(
            image.position,
            image.path,
            labels[index],
            AUTO if level is None or only_train else uses[above[index][level]],
        )
        for index, image in enumerate(images)
    )
    require_clear_labels(placed, use_splits=use_splits)
    require_learned(placed)
    notes = tuple(_notes(uses, has_both=has_both, is_deep=is_deep))
    return _with_doubts(Layout(placed, tuple(left_out), uses or None, (), notes, is_deep))


def _with_doubts(layout: Layout) -> Layout:
    sentences = tuple(doubts(layout))
    empty = empty_folders(layout)
    notes = (*layout.notes, *sentences, *([empty] if empty else []))
    return replace(layout, notes=notes, is_guess=layout.is_guess or bool(sentences))


def _notes(uses: Mapping[str, str], *, has_both: bool, is_deep: bool) -> Iterable[str]:
    if has_both:
        learned = quoted([name for name, use in uses.items() if use == TRAIN])
        held_out = quoted([name for name, use in uses.items() if use == EVAL])
        yield f"Learned from: {learned}. Kept out to measure accuracy: {held_out}."
    elif uses and TRAIN in uses.values():
        yield f"{quoted(uses)} holds all images: a share of each class is kept out by chance."
    if is_deep:
        yield "Folders lie in folders: the class is the folder that an image lies in."


def _split_level(
    above: Sequence[Folders], paths: Sequence[PurePosixPath]
) -> tuple[int | None, dict[str, str]]:
    """Find the level of folders that are splits, and what each of them is used for.

    Raises:
        LayoutError: If a folder that is named like a split stands beside others that are not.
    """
    levels = []
    for level in range(min(len(folders) for folders in above)):
        uses = splits_of(dict.fromkeys(folders[level] for folders in above))
        if uses is not None:
            levels.append((level, uses))
    for level, uses in levels:
        if len(set(uses.values())) > 1:
            return level, uses
    if levels:
        return levels[0]
    _require_no_stray_split(above, paths)
    return None, {}


def _require_no_stray_split(above: Sequence[Folders], paths: Sequence[PurePosixPath]) -> None:
    stray = next(
        (
            folders[: level + 1]
            for folders in above
            for level, name in enumerate(folders)
            if split_of(name) is not None
        ),
        None,
    )
    if stray is None:
        return
    pairs = list(zip(above, paths, strict=True))
    inside = next(path for folders, path in pairs if folders[: len(stray)] == stray)
    others = [(folders, path) for folders, path in pairs if folders[: len(stray)] != stray]
    outside = next(
        (path for folders, path in others if not any(map(split_of, folders))), others[0][1]
    )
    if any(map(split_of, outside.parent.parts)):
        why = f"other split folders lie elsewhere ({outside}). Put the split folders side by side"
    else:
        why = f"not everything lies in split folders ({outside} does not). Put all images into split folders, or none"
    raise StraySplitError(
        f"{'/'.join(stray)!r} is named like a split, but {why}. If it is the name of a class, say that there are no "
        "splits.",
        (str(inside), str(outside)),
    )


def _require_class_folders(
    groups: Mapping[str, list[int]],
    above: Sequence[Folders],
    paths: Sequence[PurePosixPath],
    level: int | None,
) -> None:
    """Refuse splits, or a whole, of which no image lies in a folder that could name its class."""
    # What is wrapped around all splits is no class; several folders that each hold splits are.
    start = (level or 0) if len({folders[:level] for folders in above}) == 1 else 0
    flat = {
        name: paths[members[0]]
        for name, members in groups.items()
        if not any(_class_folders(_named(above[index], start, level)) for index in members)
    }
    if flat and level is not None:
        raise LayoutError(
            f"There are images but no class folders in {quoted(flat)}, so their classes are not known: these name "
            f"splits. What works: {WAYS}.",
            tuple(str(path) for path in flat.values()),
        )
    if flat and not any(above):
        raise LayoutError(
            f"The images lie in no folder that names their class. What works: {WAYS}.",
            tuple(str(path) for path in paths),
        )


def _named(folders: Folders, start: int, level: int | None) -> Folders:
    """Return the folders that may name classes: not the split's, nor what is wrapped around."""
    return folders[start:] if level is None else folders[start:level] + folders[level + 1 :]


def _class_folders(folders: Folders) -> Folders:
    """Return the folders that may name a class of an image in a split."""
    return tuple(name for name in folders if not is_container(name) and split_of(name) is None)


def _without(folders: Folders, level: int | None) -> Folders:
    return folders if level is None else folders[:level] + folders[level + 1 :]


def _labels(folders: Sequence[Folders], paths: Sequence[PurePosixPath]) -> tuple[list[str], bool]:
    """Return the label of each image of one split, and whether class folders lie in several others.

    Args:
        folders: Those above each image, without its split's.
        paths: Whole paths, for messages.
    """
    unwrapped = _unwrapped(folders)
    _require_one_depth(unwrapped, paths)
    _require_clear_leaves(unwrapped, paths)
    labels = [unicodedata.normalize("NFC", parts[-1]).strip() for parts in unwrapped]
    return labels, len(unwrapped[0]) > 1


def _unwrapped(folders: Sequence[Folders]) -> list[Folders]:
    """Take off folders that say nothing: `images` in each class folder, and what is wrapped around all."""
    left = list(folders)
    while all(len(parts) > 1 and is_container(parts[-1]) for parts in left):
        left = [parts[:-1] for parts in left]
    while all(len(parts) > 1 for parts in left) and len({parts[0] for parts in left}) == 1:
        left = [parts[1:] for parts in left]
    return left


def _require_one_depth(folders: Sequence[Folders], paths: Sequence[PurePosixPath]) -> None:
    first: dict[int, PurePosixPath] = {}
    for parts, path in zip(folders, paths, strict=True):
        first.setdefault(len(parts), path)
    if len(first) == 1:
        return
    counts = Counter(len(parts) for parts in folders)
    depths = "; ".join(f"{counts[depth]} like {first[depth]}" for depth in sorted(first))
    raise LayoutError(
        f"The images lie at different depths ({depths}), so it is not clear which folders name classes. Bring them to "
        f"one depth, or take out those that do not belong. What works: {WAYS}.",
        tuple(str(first[depth]) for depth in sorted(first)),
    )


def _require_clear_leaves(folders: Sequence[Folders], paths: Sequence[PurePosixPath]) -> None:
    """Refuse folders of one name in several others: either could be the class."""
    parents: dict[str, dict[Folders, PurePosixPath]] = defaultdict(dict)
    for parts, path in zip(folders, paths, strict=True):
        parents[fold(parts[-1])].setdefault(tuple(map(fold, parts[:-1])), path)
    for inside in parents.values():
        if len(inside) > 1:
            first, second, *_ = inside.values()
            raise LayoutError(
                f"There are two folders {first.parent.name!r}, {first.parent} and {second.parent}: they could be one "
                "class, or the folders around them could be the classes. Use one folder a class.",
                (str(first), str(second)),
            )


def _require_named(labels: Mapping[int, str], paths: Sequence[PurePosixPath]) -> None:
    """Refuse to learn `images` or `photos` as the one class there is, or numbered parts of a collection as classes."""
    names = sorted(set(labels.values()))
    if are_parts(names):
        raise LayoutError(
            f"The folders {quoted(names)} are parts of one collection and name no classes. What works: {WAYS}.",
            tuple(str(path) for path in paths),
        )
    if all(map(is_container, names)):
        which = "names no class" if len(names) == 1 else "name no classes"
        raise LayoutError(
            f"All images lie in {quoted(names)}, which {which}. What works: {WAYS}.",
            tuple(str(path) for path in paths),
        )
