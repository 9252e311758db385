"""What a test of a learner finds, image by image."""

from dataclasses import dataclass, field

from service.cli.batches import Answer
from service.cli.measures import Judged, Names
from service.client import Filopodia
from service.remote import replies


@dataclass
class Trial:
    """A version of a learner, tried on images whose class is known."""

    learner: str
    version: int | None
    """None of a learner that has learned nothing."""
    classes: list[str]
    """What it can answer, as answers call it."""
    names: Names
    hidden: set[str] = field(default_factory=set)
    """Classes that it knows and never answers."""
    judged: list[Judged] = field(default_factory=list)
    """Images of classes that it can answer."""
    strange: list[Judged] = field(default_factory=list)
    """Images of other classes: no answer for them can be right."""
    unusable: list[Answer] = field(default_factory=list)

    def take(self, label: str, answer: Answer) -> Judged | None:
        """Take in the answer for an image of a class; returns what it is worth, None if there is no answer."""
        if answer.problem:
            self.unusable.append(answer)
            return None
        name = self.names.answered_as(label)
        result = answer.result
        judged = Judged(
            answer.file, name or label, result["label"], result["score"], result["known"]
        )
        can_be_right = name is not None and name not in self.hidden
        (self.judged if can_be_right else self.strange).append(judged)
        return judged

    @property
    def missing(self) -> list[str]:
        """Classes that it can answer, of which there was no image."""
        tried = {image.truth for image in self.judged}
        return [name for name in self.classes if name not in tried]


def begin(client: Filopodia, learner: str, version: int | None) -> Trial:
    """Return a trial, still of no image, of a version of a learner; of the one that is served if None.

    One version answers all images, also if another is published meanwhile.
    """
    number = version or client.learner(learner)["live_version"] or None
    if number is None:
        return Trial(learner, None, [], Names({}))
    known = {each["label"]: each for each in client.classes(learner)}
    names = {
        label: known[label].get("name", label) if label in known else label
        for label in client.version(learner, number)["classes"]
    }
    hidden = {name for label, name in names.items() if _is_hidden(known.get(label))}
    classes = [name for name in names.values() if name not in hidden]
    return Trial(learner, number, classes, Names(names), hidden)


def _is_hidden(known: replies.LearnedClass | None) -> bool:
    return known is not None and known.get("hidden", False)
