"""What pages show of a learner's training images: which labels look wrong, which are alike, which pull others wrong."""

from dataclasses import dataclass

from registry import classes
from registry.measures import Measure
from registry.tables import LearnerRow
from service.dependencies import AppContext
from service.problems import Problem
from service.schemas.insights import InsightsRead
from service.use_cases import image_insights
from service.use_cases.insight_views import read_insights

WAIT_S = 0.1
"""How long a page waits for what is not known yet; it says so, and shows it when it is opened again."""
SHOWN = 12
"""Images of a kind on the page of a class."""
SENTENCES = {
    "cannot-look-into": "This learner's strategy cannot say what it would answer without one of its images, so nothing "
    "can be said about single images.",
    "nothing-learned": "Nothing is learned yet. As soon as the first task has ended, its images are judged.",
    "version-damaged": "A file of the newest version is missing or damaged. Restore a backup; the images can be judged "
    "then.",
}


@dataclass(frozen=True)
class InsightView:
    """What a page shows."""

    known: InsightsRead | None
    """None where there is nothing to show."""
    why_not: str = ""
    """Why there is nothing to show."""
    right: Measure | None = None
    """Of the class that is asked about: how many of its images are answered rightly without themselves."""

    @property
    def unjudged(self) -> str:
        """Which images were left out, in a sentence; empty if none were."""
        if self.known is None or self.known.n_judged == self.known.n_images:
            return ""
        n = self.known.n_images - self.known.n_judged
        return (
            f"{n} of the learner's {self.known.n_images} training images could not be judged: of more than 256 "
            "images of a class in one task a sample stands for all."
        )


def look(
    context: AppContext, learner: LearnerRow, label: str | None, *, limit: int = SHOWN
) -> InsightView:
    """Return what is known of the images of a class, or of all for None."""
    try:
        found = image_insights.find(context, learner, wait_s=WAIT_S, label=label, limit=limit)
    except Problem as problem:
        return InsightView(None, SENTENCES.get(problem.code, problem.detail))
    if found is None:
        return InsightView(
            None,
            "The images are being judged, which takes some seconds once a version. Open this page again.",
        )
    with context.session_factory() as session:
        shown = classes.shown(session, learner.id)
    right = found.classes[0].measure if label is not None and found.classes else None
    return InsightView(read_insights(found, learner.head_version, shown), right=right)
