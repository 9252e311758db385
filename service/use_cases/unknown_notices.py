"""Looking for images that look alike and like no class, for those who want to be told of them."""

from registry import learners, reviews, subscriptions, telling_answers
from registry.notices import Rule
from registry.postgres.database import Session, Sessions
from registry.reviews import Wanted
from registry.tables import SubscriptionRow
from service.use_cases.review_groups import put_together

EVERY_S = 30.0
"""How often is looked for one subscription, by all services together."""
MOST_IMAGES = 500
"""Images that are put together at once, the most useful first: some 30 ms."""
MOST_LEARNERS = 200
"""Learners looked at for a subscription that is limited to none."""


def tell_of_unknown(sessions: Sessions, every_s: float = EVERY_S) -> bool:
    """Tell one subscription, if it is time to look for any, of the clusters that it was not told of yet.

    Returns:
        Whether there was one, so that there may be another.
    """
    with sessions.begin() as session:
        subscription = subscriptions.claim_look(session, every_s)
        if subscription is None:
            return False
        _look(session, subscription)
        return True


def _look(session: Session, subscription: SubscriptionRow) -> None:
    if subscription.learner_id is None:
        found = learners.list_learners(session, limit=MOST_LEARNERS).items
        learner_ids = [learner.id for learner in found]
    else:
        learner_ids = [subscription.learner_id]
    announced = {}
    for learner_id in learner_ids:
        known = [(key[0], key[1]) for key in subscription.announced.get(learner_id, ())]
        still = _tell(session, subscription, learner_id, set(known))
        if still:
            announced[learner_id] = [list(key) for key in sorted(still)]
    if announced != subscription.announced:
        subscription.announced = announced


def _tell(
    session: Session, subscription: SubscriptionRow, learner_id: str, announced: set[reviews.Key]
) -> set[reviews.Key]:
    """Tell of a learner's clusters that are new, and return the images that were told of and still wait.

    A cluster is new if nothing of it was told of: one that grows is no news until its images are settled.
    """
    waiting = reviews.list_waiting(session, learner_id, Wanted(known=False), limit=MOST_IMAGES)
    keys = {image.key for image in waiting}
    announced &= keys
    least = Rule.of(subscription.rule).min_images
    if len(keys - announced) < least:
        return announced
    for group in put_together(waiting):
        members = {image.key for image in group.images}
        if len(members) >= least and not members & announced:
            telling_answers.found_unknown(session, subscription, learner_id, group.images)
            announced |= members
        elif members & announced:
            announced |= members
    return announced
