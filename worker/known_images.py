"""What stored images of known classes look like, kept from one attempt to the next so that each is loaded once.

Screening compares every task with images of the classes that it resembles: without this it would load, decode and embed
the same ones again and again. Kept in memory only, of one learner, and let go with it.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from models.backbone import Backbone
from models.copies import thumbnails
from registry.tables import SampleRow

MOST_KEPT = 4096
"""Images. Chosen: some 15 MB on the bundled backbone, 25 on one of 768 numbers."""

Looks = tuple[Tensor, Tensor]
"""What the frozen backbone makes of an image, `(D,)`, and its thumbnail, `(3, 16, 16)`."""


class KnownImages:
    """Features of the frozen backbone, and thumbnails, of images by the sha256 of their blobs."""

    def __init__(self, learner_id: str, backbone: Backbone) -> None:
        """Begin with none."""
        self.learner_id = learner_id
        self.backbone = backbone
        self._kept: OrderedDict[str, Looks] = OrderedDict()

    def add(
        self, rows: Sequence[SampleRow], features: Tensor, small: Tensor
    ) -> list[tuple[str, Looks]]:
        """Keep what images look like, those that were asked for longest ago no more if there are too many.

        Args:
            rows: N samples.
            features: Of the frozen backbone, `(N, D)`.
            small: Their thumbnails, `(N, 3, 16, 16)`.

        Returns:
            Each by the name of its image.
        """
        new = [
            (row.blob_sha256, (mine.clone(), thumbnail.clone()))
            for row, mine, thumbnail in zip(rows, features.cpu(), small, strict=True)
        ]
        for name, looks in new:
            self._kept[name] = looks
            self._kept.move_to_end(name)
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        return new

    def look_up(
        self, rows: Sequence[SampleRow], load: Callable[[list[SampleRow]], Tensor]
    ) -> Looks:
        """Return features `(N, D)` and thumbnails `(N, 3, 16, 16)` of images.

        Args:
            rows: N > 0 samples.
            load: Loads images of which nothing is kept, uint8 `(M, 3, S, S)`. What it raises is raised.
        """
        there = {row.blob_sha256: self._kept.get(row.blob_sha256) for row in rows}
        found = {name: looks for name, looks in there.items() if looks is not None}
        for name in found:
            self._kept.move_to_end(name)
        new = list({row.blob_sha256: row for row in rows if row.blob_sha256 not in found}.values())
        if new:
            images = load(new)
            found |= dict(self.add(new, self.backbone.embed(images), thumbnails(images)))
        features, small = zip(*(found[row.blob_sha256] for row in rows), strict=True)
        return torch.stack(features), torch.stack(small)
