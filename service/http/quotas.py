"""How much a key may do.

What comes by the minute is counted in this process, in token buckets; of several service processes each counts by
itself. What comes by the day is counted in the database, in the tasks that stand there with the key's id, and so holds
over all processes; uploads that are checked at the same moment may pass it together.
"""

import math
from collections.abc import Mapping

from starlette.types import Scope

from registry import keys
from registry.postgres.database import Session
from service.http.buckets import ROUNDING, WINDOW_S, Buckets, Drawn, too_many
from service.http.demands import Demands
from service.http.security import SAFE_METHODS, Principal
from service.settings import ServiceSettings

PREDICT_IMAGES, CHANGES = "predict_images_per_minute", "changes_per_minute"
PREDICT_PIXELS = "predict_pixels_per_minute"
TASKS, IMAGES = "tasks_per_day", "images_per_day"
POLICIES = {PREDICT_IMAGES: "predict-images", CHANGES: "changes"}
"""What the quotas by the minute are called in the `RateLimit` fields."""


class Quotas:
    """What each key may do. Admin keys may do anything, unless they have quotas of their own."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._settings = settings
        self._buckets = Buckets()

    def limit(self, principal: Principal, name: str) -> int | None:
        """Return a limit of a key; None for no limit."""
        return self.limit_of(principal.role, principal.quotas, name)

    def limit_of(self, role: str, quotas: Mapping[str, int | None], name: str) -> int | None:
        """Return a limit of a key of a role with quotas of its own; None for no limit."""
        if name in quotas:
            return quotas[name]
        return None if role == "admin" else self.default(name)

    def default(self, name: str) -> int | None:
        """Return the installation's limit; None for no limit."""
        value: int = getattr(self._settings, name)
        return value or None

    def admit(self, scope: Scope, principal: Principal | None, demands: Demands) -> None:
        """Draw what every request of its kind costs, before its body is read: a change, or the first image.

        Raises:
            Problem: `rate-limited`.
        """
        if principal is not None and (demands.predicts or scope["method"] not in SAFE_METHODS):
            name = PREDICT_IMAGES if demands.predicts else CHANGES
            self._draw(scope, principal, name, 1)

    def draw_images(self, scope: Scope, n_images: int) -> None:
        """Draw the other images of a prediction, once their number is known.

        Raises:
            Problem: `rate-limited`.
        """
        if n_images > 1:
            principal: Principal = scope["state"]["principal"]
            self._draw(scope, principal, PREDICT_IMAGES, n_images - 1, already=1)

    def grant_images(self, key_id: str, principal: Principal | None, most: int) -> int:
        """Draw images of a prediction job, as many as may be predicted now and at most so many; return how many.

        Args:
            key_id: Of the key that posted the job.
            principal: Who that is; None for a key that is not valid any more, which is bound as others are.
            most: How many are wanted.
        """
        name = PREDICT_IMAGES
        limit = self.default(name) if principal is None else self.limit(principal, name)
        if limit is None:
            return most
        bucket = PREDICT_IMAGES, key_id
        there = math.floor(self._buckets.draw(bucket, limit, 0).tokens + ROUNDING)
        n_images = max(0, min(most, there))
        if n_images and self._buckets.draw(bucket, limit, n_images).retry_after_s is not None:
            return 0  # a request was there first
        return n_images

    def require_predicting(self, principal: Principal) -> None:
        """Refuse a prediction job of a key that may have nothing predicted.

        Raises:
            Problem: `rate-limited`.
        """
        if self.limit(principal, PREDICT_IMAGES) == 0:
            raise too_many("This key may have no images predicted", WINDOW_S)

    def draw_pixels(self, principal: Principal, work: float) -> None:
        """Draw what decoding the images of a prediction costs, in pixels of a PNG, once their headers are read.

        Raises:
            Problem: `rate-limited`.
        """
        limit = self.limit(principal, PREDICT_PIXELS)
        if limit is None:
            return
        drawn = self._buckets.draw((PREDICT_PIXELS, principal.key_id), limit, math.ceil(work))
        if drawn.retry_after_s is not None:
            what = f"images that take as much work as {limit // 1_000_000:,} megapixels of PNG"
            raise too_many(f"This key may have {what} predicted a minute", drawn.retry_after_s)

    def require_day(self, session: Session, principal: Principal, n_images: int) -> None:
        """Refuse a task that is more than the key may post in 24 hours.

        Raises:
            Problem: `rate-limited`.
        """
        tasks, images = self.limit(principal, TASKS), self.limit(principal, IMAGES)
        if tasks is None and images is None:
            return
        use = keys.day_use(session, principal.key_id)
        is_past_tasks = tasks is not None and use.n_tasks + 1 > tasks
        is_past_images = images is not None and use.n_images + n_images > images
        if is_past_tasks or is_past_images:
            what = f"{tasks} tasks" if is_past_tasks else f"{images} images to learn from"
            raise too_many(f"This key may post {what} in 24 hours", math.ceil(use.frees_in_s))

    def _draw(
        self, scope: Scope, principal: Principal, name: str, tokens: int, *, already: int = 0
    ) -> None:
        limit = self.limit(principal, name)
        if limit is None:
            return
        drawn = self._buckets.draw((name, principal.key_id), limit, tokens, already=already)
        scope["state"]["rate_limit"] = _fields(POLICIES[name], drawn)
        if drawn.retry_after_s is not None:
            what = "images to predict" if name == PREDICT_IMAGES else "changes"
            raise too_many(f"This key may send {limit} {what} a minute", drawn.retry_after_s)


def _fields(policy: str, drawn: Drawn) -> dict[str, str]:
    """Return the fields of draft-ietf-httpapi-ratelimit-headers-10; `t` is when the bucket is full again."""
    left = max(0, math.floor(drawn.tokens + ROUNDING))
    return {
        "RateLimit-Policy": f'"{policy}";q={drawn.per_minute};w={WINDOW_S}',
        "RateLimit": f'"{policy}";r={left};t={drawn.full_in_s}',
    }
