"""Review: kept images that wait for a person's word."""

from collections.abc import Sequence
from datetime import datetime

from service.remote import replies
from service.remote.calls import Call, Pages, given


def review(
    name: str,
    *,
    label: str | None = None,
    known: bool | None = None,
    min_score: float | None = None,
    max_score: float | None = None,
    min_novelty: float | None = None,
    max_novelty: float | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    version: int | None = None,
    sure: bool | None = None,
    limit: int | None = None,
) -> Pages[replies.ReviewItem]:
    """List the kept images about which a person's word would be most useful, those first.

    Near-duplicates are one item, and so are images that look like nothing known but like one another.

    Args:
        name: The learner.
        label: Only those answered so.
        known: False for those that look like no class.
        min_score: Only those answered with at least this score.
        max_score: Only those answered with at most this score.
        min_novelty: Only those at least as novel.
        max_novelty: Only those at most as novel.
        since: Only those answered at this time or later; a time with its zone.
        until: Only those answered before it.
        version: Only those that it answered last.
        sure: True for those too of which the answer is sure.
        limit: Most to read; None for all.
    """
    params = given(
        label=label,
        known=known,
        min_score=min_score,
        max_score=max_score,
        min_novelty=min_novelty,
        max_novelty=max_novelty,
        since=None if since is None else since.isoformat(),
        until=None if until is None else until.isoformat(),
        version=version,
        sure=sure,
    )
    return Pages("/v1/learners/{name}/review", {"name": name}, params, limit)


def settle_images(
    name: str,
    images: Sequence[replies.ReviewImage],
    *,
    label: str | None = None,
    confirm: bool = False,
    discard: bool = False,
) -> Call[replies.ReviewAct]:
    """Say what many images show, that what was answered of them is right, or that nobody is to be asked about them.

    Name one of `label`, `confirm` and `discard`. What is said is feedback: a task with `from_feedback` learns from it.

    Args:
        name: The learner.
        images: `{"prediction": id, "index": i}` each, such as the `images` of an item of `review`; 1,000 at most.
        label: What they show: a class the learner knows, or a new one.
        confirm: They show what was answered.
        discard: Nobody is to be asked about them again.
    """
    return Call(
        "POST",
        "/v1/learners/{name}/review",
        {"name": name},
        json=given(
            images=list(images), label=label, confirm=confirm or None, discard=discard or None
        ),
        is_harmless=True,  # settled once, they are left out
    )


def undo_review(name: str, act_id: str) -> Call[replies.ReviewAct]:
    """Take back what one call of `settle_images` has settled, unless a task has taken it.

    Args:
        name: The learner.
        act_id: `id` of its reply.
    """
    return Call("DELETE", "/v1/learners/{name}/review/{act_id}", {"name": name, "act_id": act_id})
