"""What keeps a folder, an archive or a table from being read.

LayoutError
└── NoImagesError, StraySplitError, TableError
"""

MOST_NAMED = 10
"""Offending paths that an error carries."""
WAYS = (
    "one folder a class, as in heron/1.jpg and egret/2.jpg; or split folders of such, as in train/heron/1.jpg and "
    "test/heron/2.jpg"
)
"""The layouts that always work, to end a sentence with."""


class LayoutError(Exception):
    """It cannot be said with certainty which class an image belongs to.

    Args:
        sentence: What was found, and what would work.
        paths: The first files or folders that it is about, as their sender names them.
    """

    def __init__(self, sentence: str, paths: tuple[str, ...] = ()) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.paths = paths[:MOST_NAMED]

    def add(self, sentence: str) -> None:
        """Say one thing more."""
        self.sentence = f"{self.sentence} {sentence}"
        self.args = (self.sentence,)


class NoImagesError(LayoutError):
    """There is no image at all."""


class StraySplitError(LayoutError):
    """A folder is named like a split and lies beside others that are not. It may be meant as a class."""


class TableError(LayoutError):
    """A table of labels cannot be read, or contradicts itself or the folders."""
