"""What the confusion page shows: the most confused pairs, and a matrix that can be read."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from registry.classes import Shown
from registry.confusions import ConfusedPair, Confusions
from registry.measures import Measure
from service.use_cases.confusion_views import Found

MOST_CLASSES = 30
"""Classes of a matrix that can be read; of more, those of the most confused pairs."""
MOST_PAIRS = 50
LEVELS = 5
"""Shades of a cell."""


@dataclass(frozen=True)
class PairView:
    """Two classes, and how often one was taken for the other."""

    true: str
    answered: str
    n: int
    share: Measure | None
    n_said: int
    address: str


@dataclass(frozen=True)
class CellView:
    """One cell of the matrix."""

    n: int
    level: int
    """Its shade, 0 where nothing is."""
    is_right: bool
    title: str
    address: str


@dataclass(frozen=True)
class RowView:
    """What the images of one class were answered as."""

    name: str
    n: int
    is_too_few: bool
    cells: list[CellView]
    n_elsewhere: int
    """Images answered as classes that are not shown."""


@dataclass(frozen=True)
class ConfusionPage:
    """Everything on the page."""

    n: int
    n_left_out: int
    n_said: int
    """Images of predictions that people said a word about."""
    n_said_right: int
    n_pairs: int
    pairs: list[PairView]
    columns: list[str]
    rows: list[RowView]
    n_classes: int
    label: str
    """The class that the page is narrowed to; empty for all."""
    is_unknown: bool
    """Whether there is no class of that name."""
    names: list[str]

    @property
    def is_cut(self) -> bool:
        """Whether the matrix leaves classes out."""
        return len(self.columns) < self.n_classes


def confusion_page(name: str, number: int, found: Found, label: str, wanted: str) -> ConfusionPage:
    """Return what the page shows.

    Args:
        name: Of the learner.
        number: Of the version.
        found: What it takes images for.
        label: What was asked for, as it was written; empty for all classes.
        wanted: The same as it was learned.
    """
    confusions, shown = found.confusions, found.shown
    is_unknown = bool(label) and wanted not in confusions.classes
    pairs = [] if is_unknown else confusions.pairs(wanted or None)
    chosen = [] if is_unknown else _chosen(confusions, pairs, wanted)
    said = confusions.said
    return ConfusionPage(
        n=confusions.n,
        n_left_out=sum(confusions.cross_validated.values()),
        n_said=sum(said.values()),
        n_said_right=sum(n for (true, answered), n in said.items() if true == answered),
        n_pairs=len(pairs),
        pairs=[
            PairView(
                shown.name(pair.true),
                shown.name(pair.answered),
                pair.n,
                pair.share,
                pair.n_said,
                cell_address(name, number, pair.true, pair.answered),
            )
            for pair in pairs[:MOST_PAIRS]
        ],
        columns=[shown.name(each) for each in chosen],
        rows=[_row(name, number, confusions, shown, each, chosen) for each in chosen],
        n_classes=len(confusions.classes),
        label=label,
        is_unknown=is_unknown,
        names=[shown.name(each) for each in confusions.classes],
    )


def cell_address(name: str, number: int, true: str, answered: str) -> str:
    """Return the address of the images behind a cell.

    Example:
        >>> cell_address("birds", 3, "heron", "a&b")
        '/admin/learners/birds/versions/3/confusion/images?true=heron&answered=a%26b'
    """
    asked = urlencode({"true": true, "answered": answered})
    return f"/admin/learners/{name}/versions/{number}/confusion/images?{asked}"


def _chosen(confusions: Confusions, pairs: Sequence[ConfusedPair], wanted: str) -> list[str]:
    """Return the classes of the matrix, in the order they were learned."""
    classes = confusions.classes
    if len(classes) <= MOST_CLASSES and not wanted:
        return list(classes)
    found = dict.fromkeys([wanted] if wanted else [])
    for pair in pairs:
        both = {**found, pair.true: None, pair.answered: None}
        if len(both) > MOST_CLASSES:
            break
        found = both
    return [label for label in classes if label in found]


def _row(
    name: str,
    number: int,
    confusions: Confusions,
    shown: Shown,
    true: str,
    columns: Sequence[str],
) -> RowView:
    total = confusions.totals.get(true, 0)
    cells = []
    for answered in columns:
        n = confusions.measured.get((true, answered), 0)
        title = f"{n} of {total} images of {shown.name(true)} answered {shown.name(answered)}"
        cells.append(
            CellView(
                n=n,
                level=-(-LEVELS * n // total) if n else 0,
                is_right=true == answered,
                title=title,
                address=cell_address(name, number, true, answered),
            )
        )
    right = confusions.share(true, true)
    return RowView(
        name=shown.name(true),
        n=total,
        is_too_few=right is None or right.is_too_few,
        cells=cells,
        n_elsewhere=total - sum(cell.n for cell in cells),
    )
