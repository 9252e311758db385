"""What a folder, an archive or the file names of a form were understood as."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from service.layout.errors import LayoutError
from service.layout.names import EVAL

NO_IMAGE = "not-an-image"
SYSTEM = "system-file"
UNLISTED = "not-in-table"
"""Why a file was left out."""
SHOWN = 3
"""Names in one sentence."""


@dataclass(frozen=True)
class Entry:
    """A file as it is offered."""

    path: PurePosixPath
    head: bytes = b""
    """Its first bytes; of a table of labels, all of them."""


@dataclass(frozen=True)
class FoundImage:
    """A file that is an image, before it is known what of."""

    position: int
    """Which of the entries it is."""
    path: PurePosixPath


@dataclass(frozen=True)
class PlacedImage:
    """A file that is an image, and what it is to teach."""

    position: int
    """Which of the entries it is."""
    path: PurePosixPath
    label: str
    """As the folder or the table has it."""
    split: str
    """`train`, `eval`, or `auto`: a share of the class is kept out."""


@dataclass(frozen=True)
class LeftOut:
    """A file that is no part of the data."""

    path: PurePosixPath
    reason: str
    """`not-an-image`, `system-file` or `not-in-table`."""


@dataclass(frozen=True)
class Layout:
    """Which files are images of which class, and what was left out."""

    images: tuple[PlacedImage, ...]
    """In the order of the entries."""
    left_out: tuple[LeftOut, ...] = ()
    splits: Mapping[str, str] | None = None
    """Folders of splits, with what their images are used for; None without any."""
    tables: tuple[PurePosixPath, ...] = ()
    """The tables that the labels come from; none where they come from folders."""
    notes: tuple[str, ...] = ()
    """Sentences: what was understood that may surprise."""
    is_guess: bool = False
    """Whether a person should look before anything is learned."""

    @property
    def classes(self) -> dict[str, Counter[str]]:
        """Return how many images of each split every class has, in order of appearance."""
        counts: dict[str, Counter[str]] = {}
        for image in self.images:
            counts.setdefault(image.label, Counter())[image.split] += 1
        return counts

    def require_training(self) -> None:
        """Refuse a layout without any image to learn from.

        Raises:
            LayoutError: If all are kept out.
        """
        if all(image.split == EVAL for image in self.images):
            folders = f" in {quoted(self.splits)}" if self.splits else ""
            raise LayoutError(
                f"All images{folders} are named to measure accuracy with: there is none to learn from.",
                tuple(str(image.path) for image in self.images),
            )


def quoted(names: Mapping[str, object] | list[str]) -> str:
    """Return names as part of a sentence.

    Example:
        >>> quoted(["train", "test"])
        "'train' and 'test'"
    """
    quoted_names = [repr(name) for name in names]
    shown = quoted_names[:SHOWN] + (
        [f"{len(quoted_names) - SHOWN} more"] if len(quoted_names) > SHOWN else []
    )
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
