"""What the page of the review shows: cards of images that one word settles, and what was said already."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from registry.classes import Shown
from registry.reviews import Key
from service.schemas.reviews import ReviewItem
from service.use_cases import reviewing
from service.use_cases.review_groups import Group, Place

ON_A_PAGE = 48
"""Cards shown at once."""
PICTURES = 4
"""Of a card."""


@dataclass(frozen=True)
class Card:
    """A group as the page shows it."""

    item: ReviewItem
    keys: str
    """All of its images, for the form."""
    pictures: list[str]
    """Addresses of some of its images, of the one first that stands for all."""
    inside: str
    """Names the group."""

    @property
    def n_more(self) -> int:
        """Images besides the one that stands for all."""
        return len(self.item.images) - 1


@dataclass(frozen=True)
class Pending:
    """What was said and is not learned yet."""

    counts: list[tuple[str, int, int]]
    """Class, images, and how many more it needs before it can be learned."""

    @property
    def n_images(self) -> int:
        """Images of all classes."""
        return sum(count for _, count, _ in self.counts)

    @property
    def n_ready(self) -> int:
        """Images of the classes that can be learned."""
        return sum(count for _, count, n_missing in self.counts if not n_missing)


def read_key(text: str) -> Key | None:
    """Return the image that the form names; None if it names none.

    Example:
        >>> read_key("prd_01.3"), read_key("prd_01.x")
        (('prd_01', 3), None)
    """
    prediction_id, _, index = text.rpartition(".")
    is_one = prediction_id.isascii() and prediction_id.isprintable() and bool(prediction_id)
    return (prediction_id, int(index)) if is_one and _is_index(index) else None


def _is_index(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10


def opened(groups: list[Group], inside: str) -> list[Group]:
    """Return each image by itself of the group that an image is in; all groups if it is in none any more."""
    key = read_key(inside)
    for group in groups:
        if any(image.key == key for image in group.images):
            return [Group((image,), 0, is_cluster=False) for image in group.images]
    return []


def page_of(groups: list[Group], after: Place | None) -> tuple[list[Group], str | None]:
    """Return a page of groups, and the cursor of the next one; the first page where nothing is left behind a place."""
    left = [group for group in groups if after is None or group.place < after] or groups
    more = len(left) > ON_A_PAGE
    return left[:ON_A_PAGE], left[ON_A_PAGE - 1].cursor if more else None


def card_of(group: Group, shown: Shown) -> Card:
    """Return a group as the page shows it."""
    item = reviewing.read_group(group, shown)
    keys = [f"{image.prediction}.{image.index}" for image in item.images]
    pictures = [
        f"/admin/predictions/{image.prediction}/images/{image.index}"
        for image in item.images[:PICTURES]
    ]
    return Card(item, " ".join(keys), pictures, keys[0])


def pending_of(
    said: Mapping[str, int], learned: Collection[str], shown: Shown, *, min_images: int
) -> Pending:
    """Return what was said and is not learned yet.

    Args:
        said: Images by label.
        learned: Labels that the learner knows.
        shown: What classes are called.
        min_images: How many a new class needs.
    """
    return Pending(
        [
            (shown.name(label), count, 0 if label in learned else max(0, min_images - count))
            for label, count in said.items()
        ]
    )


def names_of(said: Collection[str], learned: Collection[str], shown: Shown) -> list[str]:
    """Return what an image can be called without making another new class."""
    return sorted({shown.name(label) for label in (*said, *learned)}, key=str.casefold)
