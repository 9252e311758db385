"""What a run was asked to measure with, and what all parts do."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.bad_input.service import Service
from benchmarks.learning_speed.pictures import Taught, make_classes
from benchmarks.learning_speed.teaching import BY_HAND, Answered, Teacher

JSON = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Given:
    """What was asked for on the command line."""

    backbone: str
    weights: Path | None
    cifar100: Path | None
    repeats: int
    batch_repeats: int
    tasks: int
    rounds: int
    seconds: float
    few: tuple[int, int]
    """Classes and images a class of a small task."""
    many: tuple[int, int]
    """Of a large one."""
    epochs: int
    """Of the plain loop."""
    adapt: str
    """When those learners adapt their features whose consolidation is measured: of easy images none would train."""

    def classes(self, n: int, images: int, *, asked: int = 1, seed: int = 0) -> list[Taught]:
        """Make classes to teach."""
        return make_classes(n, images, asked=asked, cifar100=self.cifar100, seed=seed)

    @property
    def settings(self) -> dict[str, str]:
        """Return what the service is told: consolidations come when they are measured."""
        weights = {} if self.weights is None else {"FILOPODIA_BACKBONE_WEIGHTS": str(self.weights)}
        return {**BY_HAND, **weights, "FILOPODIA_PREDICT_IMAGES_PER_MINUTE": "0"}


def taught_in_turn(
    service: Service,
    given: Given,
    tasks: int,
    n: int,
    images: int,
    after: Callable[[], object] = lambda: None,
) -> list[Answered]:
    """Teach one new learner so many tasks of so many classes and images, one after the other."""
    teacher = Teacher(service.client)
    teacher.create("pupil", given.backbone)
    classes = given.classes(tasks * n, images)
    answered = []
    for i in range(tasks):
        answered.append(teacher.teach("pupil", classes[i * n : (i + 1) * n]))
        after()
    return answered
