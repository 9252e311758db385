"""What a batch of images costs, by what batches have cost lately: a part for each batch, and a part for each image.

One image alone takes several times what it takes among others. Whoever took the cost of one for that of all who wait
would refuse a burst after a quiet time that could well be served.
"""

from collections.abc import Hashable

FADING = 0.9
"""What is left of the weight of earlier batches each time; chosen, untested."""
LEAST_SHARE = 0.2
"""Least part of the mean cost of an image that is put down to the image itself: what was seen of small batches alone
says little about full ones; chosen, untested."""


class BatchCost:
    """A line through the last batches of one backbone, in seconds over images, by weighted least squares."""

    def __init__(self) -> None:
        self._weight = self._n = self._s = self._nn = self._ns = 0.0

    def observe(self, n_images: int, seconds: float) -> None:
        """Take one more batch into account."""
        self._weight = FADING * self._weight + 1
        self._n = FADING * self._n + n_images
        self._s = FADING * self._s + seconds
        self._nn = FADING * self._nn + n_images * n_images
        self._ns = FADING * self._ns + n_images * seconds

    def line(self) -> tuple[float, float]:
        """Return the seconds of a batch as such, and of each of its images. Both are 0 before the first batch.

        Example:
            >>> cost = BatchCost()
            >>> for n in (1, 4, 16, 1):
            ...     cost.observe(n, 0.008 + 0.002 * n)
            >>> tuple(round(seconds, 6) for seconds in cost.line())
            (0.008, 0.002)
        """
        if not self._n:
            return 0.0, 0.0
        mean = self._s / self._n
        spread = self._weight * self._nn - self._n * self._n
        # Batches of one size tell nothing of any other: all is put down to the images then.
        is_told = spread > 1e-6 * self._n * self._n
        slope = (self._weight * self._ns - self._n * self._s) / spread if is_told else mean
        image_s = min(max(slope, LEAST_SHARE * mean), mean)
        return max(0.0, (self._s - image_s * self._n) / self._weight), image_s

    def seconds(self, n_images: float) -> float:
        """Return what a batch takes, about."""
        batch_s, image_s = self.line()
        return batch_s + image_s * n_images


class BatchCosts:
    """The costs of all backbones that are served, each by itself."""

    def __init__(self, *, max_batch: int, cold_image_s: float) -> None:
        """Begin without any.

        Args:
            max_batch: Most images of a batch.
            cold_image_s: What an image is taken to cost before the first of its backbone was scored, in seconds.
        """
        self._max_batch = max_batch
        self._cold_image_s = cold_image_s
        self._of: dict[Hashable, BatchCost] = {}

    def observe(self, backbone: Hashable, n_images: int, seconds: float) -> None:
        """Take one more batch of a backbone into account."""
        self._of.setdefault(backbone, BatchCost()).observe(n_images, seconds)

    def seconds(self, backbone: Hashable, n_images: int) -> float:
        """Return what one batch of so many images takes, about."""
        cost = self._of.get(backbone)
        return n_images * self._cold_image_s if cost is None else cost.seconds(n_images)

    def in_turn(self, backbone: Hashable, n_images: int) -> float:
        """Return what images take where many wait, about: each its part of a full batch."""
        return self.seconds(backbone, self._max_batch) / self._max_batch * n_images

    def images_within(self, backbone: Hashable, seconds: float) -> int:
        """Return how many images one batch may have to take so long, about: at least one, at most a full one."""
        cost = self._of.get(backbone)
        if cost is None:
            return 1
        batch_s, image_s = cost.line()
        if image_s <= 0:
            return self._max_batch
        return max(1, min(self._max_batch, int((seconds - batch_s) / image_s)))
