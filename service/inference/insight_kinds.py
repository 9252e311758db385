"""What is known of a learner's training images, as values."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from registry.measures import Measure

QUANTILES = (0.1, 0.5, 0.9)


@dataclass(frozen=True, slots=True)
class JudgedImage:
    """What is answered to one training image without it."""

    sample: str
    label: str
    answered: str
    """Label of the class that is answered."""
    own_score: float
    score: float
    """Of the class that is answered."""
    novelty: float

    @property
    def strength(self) -> float:
        """By how much more it looks like what is answered than like its own class."""
        return self.score - self.own_score


@dataclass(frozen=True, slots=True)
class ImagePair:
    """Two images that are near to each other."""

    sample: str
    label: str
    other: str
    other_label: str
    cosine: float


@dataclass(frozen=True, slots=True)
class PullingImage:
    """An image without which others would be answered rightly."""

    sample: str
    label: str
    mended: tuple[JudgedImage, ...]
    """The others."""


@dataclass(frozen=True)
class ClassInsights:
    """What is known of one class."""

    label: str
    n: int
    """Training images that were judged."""
    measure: Measure | None
    """How many were answered rightly without themselves."""
    novelty: tuple[float, ...]
    """Of its images without themselves, at `QUANTILES`; empty without any."""


@dataclass(frozen=True)
class LearnerInsights:
    """What is known of a version's training images, the most telling of each kind first."""

    version: int
    n_images: int
    """Training images that the version has learned."""
    n_judged: int
    """Of these, those of which it is known which row of features is theirs."""
    suspects: tuple[JudgedImage, ...] = ()
    look_alikes: tuple[ImagePair, ...] = ()
    """Of each image the nearest one of another class."""
    duplicates: tuple[ImagePair, ...] = ()
    pulls: tuple[PullingImage, ...] = ()
    classes: tuple[ClassInsights, ...] = ()

    def of_class(self, label: str | None) -> "LearnerInsights":
        """Return what is known of the images of one class; None is all."""
        if label is None:
            return replace(self, look_alikes=tuple(_each_once(self.look_alikes)))
        return LearnerInsights(
            self.version,
            self.n_images,
            self.n_judged,
            tuple(each for each in self.suspects if each.label == label),
            tuple(each for each in self.look_alikes if each.label == label),
            tuple(each for each in self.duplicates if label in (each.label, each.other_label)),
            tuple(each for each in self.pulls if each.label == label),
            tuple(each for each in self.classes if each.label == label),
        )


def _each_once(pairs: Iterable[ImagePair]) -> Iterator[ImagePair]:
    """Yield pairs, and none that came the other way around."""
    seen = set()
    for pair in pairs:
        if (pair.other, pair.sample) not in seen:
            seen.add((pair.sample, pair.other))
            yield pair
