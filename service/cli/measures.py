"""What answers are worth where the truth is known: accuracy with its interval, confusion, the worst images."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from registry.intervals import TOO_WIDE, wilson


@dataclass(frozen=True)
class Judged:
    """An image whose class is known, and what was answered."""

    file: Path
    truth: str
    answer: str
    score: float
    known: bool
    """Whether the learner took it for one of its classes."""

    @property
    def is_right(self) -> bool:
        """Whether the answer is the truth."""
        return self.answer == self.truth


@dataclass(frozen=True)
class Share:
    """How many of some images were answered right."""

    right: int
    n: int

    @classmethod
    def of(cls, judged: Sequence[Judged]) -> "Share":
        """Count."""
        return cls(sum(image.is_right for image in judged), len(judged))

    @property
    def accuracy(self) -> float | None:
        """Share of right ones in [0, 1]; None of no image."""
        return self.right / self.n if self.n else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Wilson's 95 % interval of the accuracy; None of no image."""
        return wilson(self.right, self.n) if self.n else None

    @property
    def is_too_few(self) -> bool:
        """Whether there are too few images to tell."""
        low, high = wilson(self.right, self.n)
        return high - low > TOO_WIDE


def by_class(judged: Iterable[Judged]) -> dict[str, list[Judged]]:
    """Return the images by their true class, in alphabetical order."""
    images: dict[str, list[Judged]] = {}
    for image in judged:
        images.setdefault(image.truth, []).append(image)
    return dict(sorted(images.items()))


def mean_class_accuracy(judged: Sequence[Judged]) -> float | None:
    """Return the accuracy in which each class weighs alike; None of no image."""
    shares = [Share.of(images) for images in by_class(judged).values()]
    return sum(share.right / share.n for share in shares) / len(shares) if shares else None


def confusion(judged: Iterable[Judged]) -> dict[str, Counter[str]]:
    """Return how often images of each true class were answered as each class."""
    return {
        truth: Counter(image.answer for image in images)
        for truth, images in by_class(judged).items()
    }


def confused_pairs(judged: Iterable[Judged]) -> list[tuple[str, str, int]]:
    """Return true class, answered class and how often, for all wrong answers, the most frequent first."""
    counts = Counter((image.truth, image.answer) for image in judged if not image.is_right)
    return [
        (truth, answer, n)
        for (truth, answer), n in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]


def worst(judged: Iterable[Judged]) -> list[Judged]:
    """Return the images that were answered wrong, the most confident answer first."""
    wrong = [image for image in judged if not image.is_right]
    return sorted(wrong, key=lambda image: (-image.score, image.file))


class Names:
    """What a class is called in answers, whatever a folder calls it: by its label, by its name, in another case.

    Args:
        names: Of each label, the name it is answered by.
    """

    def __init__(self, names: Mapping[str, str]) -> None:
        self._exact = {**names, **{name: name for name in names.values()}}
        folded: dict[str, set[str]] = {}
        for called, name in self._exact.items():
            folded.setdefault(_fold(called), set()).add(name)
        self._folded = {called: names.pop() for called, names in folded.items() if len(names) == 1}

    def answered_as(self, label: str) -> str | None:
        """Return the name of the class that a folder calls `label`; None if there is none.

        Example:
            >>> names = Names({"heron": "Grey heron"})
            >>> names.answered_as("HERON"), names.answered_as("Grey heron"), names.answered_as("owl")
            ('Grey heron', 'Grey heron', None)
        """
        text = unicodedata.normalize("NFC", label)
        return self._exact.get(text) or self._folded.get(_fold(text))


def _fold(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()
