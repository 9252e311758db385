"""What is known of training images as clients read it."""

from registry.classes import Shown
from service.inference.insight_kinds import ImagePair, JudgedImage, LearnerInsights
from service.schemas.insights import (
    ClassInsightsRead,
    ImagePairRead,
    InsightsRead,
    JudgedImageRead,
    PullingImageRead,
)
from service.schemas.measures import MeasureRead

MOST_MENDED = 10


def read_insights(found: LearnerInsights | None, version: int, shown: Shown) -> InsightsRead:
    """Return what is read of it; None is what is still being found out of a version."""
    known = found or LearnerInsights(version, 0, 0)
    return InsightsRead(
        ready=found is not None,
        version=known.version,
        n_images=known.n_images,
        n_judged=known.n_judged,
        suspects=[_judged(each, shown) for each in known.suspects],
        look_alikes=[_pair(each, shown) for each in known.look_alikes],
        duplicates=[_pair(each, shown) for each in known.duplicates],
        pulls=[
            PullingImageRead(
                sample=each.sample,
                label=shown.name(each.label),
                n=len(each.mended),
                mended=[_judged(one, shown) for one in each.mended[:MOST_MENDED]],
            )
            for each in known.pulls
        ],
        classes=[
            ClassInsightsRead(
                label=shown.name(each.label),
                n=each.n,
                right=MeasureRead.of(each.measure),
                novelty=list(each.novelty),
            )
            for each in known.classes
        ],
    )


def _judged(image: JudgedImage, shown: Shown) -> JudgedImageRead:
    return JudgedImageRead(
        sample=image.sample,
        label=shown.name(image.label),
        looks_like=shown.name(image.answered),
        score=image.score,
        own_score=image.own_score,
        novelty=image.novelty,
    )


def _pair(pair: ImagePair, shown: Shown) -> ImagePairRead:
    return ImagePairRead(
        sample=pair.sample,
        label=shown.name(pair.label),
        other=pair.other,
        other_label=shown.name(pair.other_label),
        cosine=pair.cosine,
    )
