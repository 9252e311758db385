"""The contract every strategy fulfils, and the bookkeeping that is the same for all of them.

What callers use is here: `learn`, `consolidate`, `unlearn`, `correct`, `predict`, `state_dict`, `load_state_dict`. A
strategy fills in its own part of each: `_learn`, `_consolidate`, `_forget`, `_correct`, `score`, `_state_dict`,
`_load_state_dict`.
"""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor

from models.backbone import Backbone
from models.calibration import LOGIT_PRIOR, Calibration
from models.checkpoint import NO_CHECKPOINTS, Checkpoints
from models.correcting import Change, Relabelled
from models.errors import (
    CorrectionError,
    NotLearnedError,
    TaskDataError,
    UnknownContentError,
    UnlearningError,
)
from models.insights import ImageInsights
from models.ledger import Ledger, Removal
from models.progress import ProgressFn, ignore_progress
from models.shown import KeptRows
from models.strategies.account import Account, HeadSays, worth_turning
from models.strategies.values import (
    ConsolidationReport,
    CorrectionReport,
    CrossValidation,
    LearningReport,
    LeftOut,
    Prediction,
    RawScores,
    Routes,
    Task,
    Unlearning,
    UnlearningReport,
)


@dataclass(frozen=True, kw_only=True)
class StrategyConfig:
    """Base of every strategy's hyperparameters: a frozen, keyword-only dataclass."""

    # Read by pydantic's TypeAdapter at the HTTP border, so that unknown keys are refused there.
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}


ConfigT = TypeVar("ConfigT", bound=StrategyConfig)
ImagesOf = Callable[[Tensor], Tensor]
"""Returns some images of a batch, uint8 `(R, 3, H, W)`, by their rows, int64 `(R,)`."""

NOVELTY_THRESHOLD = 0.99
"""Of strategies that are not calibrated to a rate of false alarms."""
CALIBRATION_RESIDUE = (
    "The temperature and the familiarity of tasks that stay were measured while it was known."
)
CORRECTED_RESIDUE = (
    "The temperature and the familiarity of tasks were measured while some images had other labels."
)


class Strategy(ABC, Generic[ConfigT]):
    """How a learner learns: an object with what it has learned so far.

    A learned strategy is used for prediction only; the next version starts from a fresh object with the same state.
    """

    name: ClassVar[str]
    """Public, stored in the database: never rename."""
    summary: ClassVar[str]
    """One sentence: what it is for."""
    config_type: ClassVar[type[StrategyConfig]]
    keeps_images: ClassVar[bool] = False
    """Whether training images become part of what it learned. Deleting a task's images does not delete those."""
    unlearning: ClassVar[Unlearning] = "none"
    """What it can do about a task or class that has to go. A report says what was done in the case at hand."""
    corrects: ClassVar[bool] = False
    """Whether images can be given other labels, or be taken out, without training anything again."""
    looks_into_images: ClassVar[bool] = False
    """Whether it can say what it would answer without one of its images (`look_into_images`)."""
    cross_validates: ClassVar[bool] = False
    """Whether it measures itself on training images that it leaves out in turn, in closed form."""
    consolidates: ClassVar[bool] = False
    """Whether learning leaves training for later: its tasks wait as `unconsolidated_`."""
    reads_features: ClassVar[bool] = False
    """Whether it answers by `features_of` an image, and asks for the image itself only where a synapse fires."""
    is_one_graph: ClassVar[bool] = True
    """Whether `score_unrouted` takes the same steps for every image, so that it can be written as a graph."""
    current_below: ClassVar[float] = math.inf
    """What the currents of its synapses stay below: one whose threshold is not lower can never fire."""
    prior: ClassVar[float] = LOGIT_PRIOR
    """Temperature to assume for its logits where held-out images tell nothing."""

    def __init__(self, backbone: Backbone, config: ConfigT) -> None:
        self.backbone = backbone
        self.config = config
        self.classes_: tuple[str, ...] = ()
        """Learned labels in index order. Grows and never reorders, but by `unlearn`."""
        self.class_tasks_: tuple[int, ...] = ()
        """For each class the index of the task that introduced it."""
        self.task_indexes_: tuple[int, ...] = ()
        """Index of each learned task, in order."""
        self.ledger = Ledger()
        """Which task brought which class. Part of the state of the strategies that can unlearn."""
        self.calibration = Calibration(prior=self.prior)

    @property
    def synapse_tasks_(self) -> tuple[int, ...]:
        """Index of the task of each synapse, in the order of `Prediction.currents`. Empty for a strategy without."""
        return ()

    @property
    def novelty_threshold(self) -> float:
        """Novelty, in `[0, 1]`, above which an image is answered as not known."""
        return NOVELTY_THRESHOLD

    @property
    def unconsolidated_(self) -> tuple[int, ...]:
        """Indexes of the tasks that wait for a consolidation, in the order they were learned."""
        return ()

    def learn(self, task: Task, on_progress: ProgressFn = ignore_progress) -> LearningReport:
        """Learn one more task.

        Deterministic on CPU for `task.seed`. Needs no image of an earlier task, but those it keeps (`keeps_images`).

        Raises:
            TaskDataError: If the task has no image.
            DivergedError: If the loss stops being finite.
        """
        started = time.perf_counter()
        details = self._learn(task, self.register(task), on_progress)
        details.setdefault("temperature", self.calibration.temperature.value)
        return LearningReport(len(task.images), time.perf_counter() - started, details)

    def consolidate(
        self,
        tasks: Sequence[Task],
        *,
        seed: int,
        checkpoints: Checkpoints = NO_CHECKPOINTS,
        on_progress: ProgressFn = ignore_progress,
    ) -> ConsolidationReport:
        """Train on the images of tasks that were learned without, and keep what comes out if it answers better.

        Deterministic on CPU for `seed`.

        Args:
            tasks: Those of `unconsolidated_` whose images are still there, at least one, each as it was learned.
            seed: Everything random derives from it.
            checkpoints: Where the training keeps how far it is, and goes on from.
            on_progress: Told about `training` and `consolidating`.

        Raises:
            TaskDataError: If a task does not wait, has no image, or shows a class that is not known any more.
            DivergedError: If the loss stops being finite.
        """
        started = time.perf_counter()
        strange = [task.index for task in tasks if task.index not in self.unconsolidated_]
        if strange or not tasks:
            named = ", ".join(map(str, strange)) or "none"
            raise TaskDataError(f"These tasks do not wait for a consolidation: {named}.")
        labels = {label for task in tasks for label in (*task.labels, *task.held_out_labels)}
        if not labels <= set(self.classes_) or not all(task.labels for task in tasks):
            raise TaskDataError(
                "A task to be consolidated has no image, or one of an unknown class."
            )
        adopted, reason, details = self._consolidate(tasks, seed, checkpoints, on_progress)
        return ConsolidationReport(
            adopted=adopted,
            reason=reason,
            tasks=tuple(task.index for task in tasks),
            n_images=sum(len(task.images) for task in tasks),
            seconds=time.perf_counter() - started,
            details=details,
        )

    def look_into_images(self) -> tuple[ImageInsights, list[KeptRows]]:
        """Return what the images that are kept say of each other, and of which images their rows are, in order.

        Only of a strategy that `looks_into_images`, once it has learned something. Changes nothing.
        """
        raise NotImplementedError

    def unlearn(
        self,
        *,
        tasks: Collection[int] = (),
        classes: Collection[str] = (),
        images: Sequence[Task] = (),
        on_progress: ProgressFn = ignore_progress,
    ) -> UnlearningReport:
        """Take tasks and classes out of what was learned.

        All that a task contributed goes; a class that other tasks brought too stays with what these gave. A class goes
        from every task, and a task of which nothing is left goes with it. Unlearning everything works for every
        strategy, and leaves a learner as new. What stays is numbered as in a learner that never saw the rest.

        Args:
            tasks: Indexes of tasks.
            classes: Labels.
            images: Training images of the tasks that lose something, where they are still kept. Each as it was learned;
                only a strategy that says `needs_images` reads them.
            on_progress: Told about `training` where something has to be trained again.

        Raises:
            UnknownContentError: If one of them was never learned, or none is named.
            MissingImagesError: If `images` are needed and some are missing.
            UnlearningError: If this strategy cannot.
        """
        started = time.perf_counter()
        self._require_known(tasks, classes)
        tasks_before, classes_before = self.task_indexes_, self.classes_
        trace = calibration = ""
        if set(tasks_before) <= set(tasks) or set(classes_before) <= set(classes):
            self._start_over()
        elif self.unlearning == "none":
            raise UnlearningError(
                f"The strategy {self.name} has trained all classes into the same weights and cannot take one out: "
                "learn afresh from the images that may stay."
            )
        else:
            targets = [self.classes_.index(label) for label in classes]
            removal = self.ledger.without(tasks=tasks, targets=targets)
            if len(removal.kept):
                trace = self._forget(removal, images, on_progress)
                self.calibration.drop(removal.tasks)
                is_traced = len(self.calibration.tasks) and not removal.is_latest
                calibration = CALIBRATION_RESIDUE if is_traced else ""
            else:
                self._start_over()
        return UnlearningReport(
            n_tasks=len(tasks_before) - len(self.task_indexes_),
            n_classes=len(classes_before) - len(self.classes_),
            seconds=time.perf_counter() - started,
            exact_scores=not trace,
            residue=" ".join(part for part in (trace, calibration) if part),
        )

    def correct(
        self, changes: Sequence[Relabelled], on_progress: ProgressFn = ignore_progress
    ) -> CorrectionReport:
        """Give training images other labels, take them out, or take them in again; nothing is trained.

        What is kept of them is subtracted and added, so that the learner is one that was taught these labels, but for
        rounding and for what the report names. Classes keep their order.

        Args:
            changes: What changes of each task, at most once for a task; known classes only.
            on_progress: Told about `consolidating`.

        Raises:
            CorrectionError: If this strategy cannot, a task or label is not known, or a class or task would be left
                without a training image.
        """
        started = time.perf_counter()
        if not self.corrects:
            raise CorrectionError(
                f"The strategy {self.name} has trained its images into weights and cannot change the label of one: "
                "learn afresh from the corrected images."
            )
        of_classes = self._looked_up(changes)
        ledger = self.ledger.corrected(of_classes)
        self._require_left(ledger)
        looks = [relabelled.images for relabelled in changes]
        trace = self._correct(of_classes, looks, ledger, on_progress)
        first = {entry.target: entry.task for entry in reversed(ledger.entries)}
        self.class_tasks_ = tuple(first[k] for k in range(len(self.classes_)))
        self.ledger = ledger
        pairs = [pair for each in changes for pair in zip(each.before, each.after, strict=True)]
        calibration = CORRECTED_RESIDUE if len(self.calibration.tasks) else ""
        return CorrectionReport(
            n_moved=sum(None not in pair for pair in pairs),
            n_removed=sum(after is None for _, after in pairs),
            n_restored=sum(before is None for before, _ in pairs),
            seconds=time.perf_counter() - started,
            residue=" ".join(part for part in (trace, calibration) if part),
        )

    @torch.no_grad()
    def predict(self, images: Tensor) -> Prediction:
        """Score images and say which synapses were functional.

        Args:
            images: uint8 `(B, 3, H, W)` as `Backbone.preprocess` makes them; B may be 0.

        Raises:
            NotLearnedError: If nothing was learned yet.
        """
        self._require_learned()
        return self._answered(self.score(images))

    @torch.no_grad()
    def predict_unrouted(self, images: Tensor) -> Prediction:
        """Answer as `predict` does where no synapse fires; `functional` tells which would fire.

        Args:
            images: As in `predict`.

        Raises:
            NotLearnedError: If nothing was learned yet.
        """
        self._require_learned()
        return self._answered(self.score_unrouted(images))

    @torch.no_grad()
    def predict_features(self, features: Tensor, images_of: ImagesOf) -> Prediction:
        """Answer as `predict` does to the images that features came from. Only of a strategy that `reads_features`.

        Args:
            features: As `features_of` returned them while `fingerprint_of_features` was what it is now, `(B, W)`.
            images_of: Asked for those images whose features do not tell enough.

        Raises:
            NotLearnedError: If nothing was learned yet.
        """
        self._require_learned()
        return self._answered(self.score_features(features, images_of))

    @torch.no_grad()
    def account(self, image: Tensor) -> Account:
        """Answer one image as `predict` does, and say what the answer would be were its synapses otherwise.

        Args:
            image: uint8 `(3, H, W)` as `Backbone.preprocess` makes it.

        Raises:
            NotLearnedError: If nothing was learned yet.
        """
        self._require_learned()
        prediction = self.predict(image[None])
        columns = []
        if prediction.functional.shape[1]:
            columns = worth_turning(prediction, self.current_below)
        turned: dict[int, Tensor] = {}
        if columns:
            functional = prediction.functional.repeat(len(columns), 1)
            functional[torch.arange(len(columns)), torch.tensor(columns)] ^= True
            images = image[None].repeat(len(columns), 1, 1, 1)
            otherwise = self._answered(self.score_routed(images, functional)).probabilities
            turned = dict(zip(columns, otherwise.cpu(), strict=True))
        return Account(prediction, turned, tuple(self.heads_say(image[None])))

    def score_routed(self, images: Tensor, functional: Tensor) -> RawScores:
        """Score images as `score` does, with given synapses functional. Only of a strategy with synapses.

        Args:
            images: As in `score`.
            functional: Which are, bool `(B, T)`, whatever their currents are.
        """
        raise NotImplementedError

    def heads_say(self, images: Tensor) -> list[HeadSays]:
        """Return what each of several heads says of one image, `(1, 3, H, W)`; nothing where there is only one."""
        return []

    def _answered(self, raw: RawScores) -> Prediction:
        """Calibrate what `score` returned."""
        probabilities = raw.probabilities
        if probabilities is None:
            probabilities = self.calibration.probabilities(raw.logits)
        return Prediction(
            probabilities=probabilities,
            novelty=self.calibration.familiarity.novelty(raw.distances)
            if raw.novelty is None
            else raw.novelty,
            unrouted=raw.unrouted,
            features=raw.features,
            **vars(raw.routes or Routes.without_synapses(len(raw.logits))),
        )

    @torch.no_grad()
    def predict_logits(self, images: Tensor) -> Tensor:
        """Return uncalibrated scores `(B, K)` for uint8 images `(B, 3, H, W)`.

        Raises:
            NotLearnedError: If nothing was learned yet.
        """
        self._require_learned()
        return self.score(images).logits

    def score_unrouted(self, images: Tensor) -> RawScores:
        """Score images as `score` does, without a pass through a silent sub-network. Only where `is_one_graph`.

        Its routes tell which synapses would fire.
        """
        return self.score(images)

    def prepare(self) -> None:
        """Build what answers need. The first prediction does it otherwise, and takes as much longer."""

    def fingerprint_of_features(self) -> str:
        """Return a hash of all that decides what features an image becomes: equal as long as they stay the same."""
        return self.backbone.fingerprint

    def features_of(self, images: Tensor) -> Tensor:
        """Return what answers are read from, `(B, W)` on the CPU, of uint8 images `(B, 3, H, W)`.

        Only of a strategy that `reads_features`.
        """
        raise NotImplementedError

    def look(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return `features_of` images, and what the frozen backbone alone makes of them, `(B, D)` on the CPU.

        As far as the passes are the same they are made once. Only of a strategy that `reads_features`.
        """
        raise NotImplementedError

    def score_features(self, features: Tensor, images_of: ImagesOf) -> RawScores:
        """Score images by their features `(B, W)`, as `score` does. Only of a strategy that `reads_features`."""
        raise NotImplementedError

    def cross_validation(self) -> CrossValidation | None:
        """Return what the current head answers to training images that it leaves out in turn.

        Only of images that trained no sub-network. None where it cannot tell.
        """
        return None

    def left_out(self) -> LeftOut | None:
        """Return what `cross_validation` counts, image by image; None where there is no such.

        Takes as long as weighing the heads does, and changes nothing: safe beside predictions.
        """
        return None

    def state_dict(self) -> dict[str, Tensor]:
        """Return everything learned but the backbone, as CPU tensors.

        Keys that start with `tasks.<index>.` belong to one task and never change once written, so versions share them.
        Only `unlearn` changes them, and of a task that loses something; and `correct`, of a task whose images change.
        """
        state = self._state_dict() | self.calibration.state_dict("calibration.")
        return state if self.unlearning == "none" else state | self.ledger.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state_dict` returned. `classes_`, `class_tasks_` and `task_indexes_` are set before.

        Raises:
            CheckpointError: If a tensor is missing or has the wrong shape or type.
        """
        if self.unlearning != "none":
            self.ledger = Ledger.from_state(state, self.task_indexes_, len(self.classes_))
        self._load_state_dict(state)
        self.calibration.load_state_dict(state, "calibration.")

    def go_on_from(self, known: "Strategy[Any]") -> None:
        """Know what another one of its kind knows, which stays as it is whatever becomes of this one.

        The same bits come of it as of its artifact.
        """
        self.classes_, self.class_tasks_ = known.classes_, known.class_tasks_
        self.task_indexes_ = known.task_indexes_
        self._go_on_from(known)

    def _go_on_from(self, known: "Strategy[Any]") -> None:
        """Take over all but the classes and tasks; a strategy that never changes what it has stored may share it."""
        self.load_state_dict({key: tensor.clone() for key, tensor in known.state_dict().items()})

    @abstractmethod
    def _learn(self, task: Task, targets: Tensor, on_progress: ProgressFn) -> dict[str, Any]:
        """Learn a task whose classes are registered: the part of `learn` that is each strategy's own.

        Ends with `calibrate`, or does as much in its own way.

        Args:
            task: Images and seed.
            targets: Class index of each image, int64 `(N,)`; new classes come right after the known ones.
            on_progress: Told about `training` and `consolidating`.

        Returns:
            JSON-serialisable details for the report.
        """

    @abstractmethod
    def score(self, images: Tensor) -> RawScores:
        """Score uint8 images `(B, 3, H, W)` by what was learned so far: at least one class. No gradient is needed."""

    @abstractmethod
    def _state_dict(self) -> dict[str, Tensor]:
        """Return the part of `state_dict` that is each strategy's own: all but the calibration and the ledger."""

    @abstractmethod
    def _load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `_state_dict` returned, with a `StateReader`; the ledger is loaded before."""

    def register(self, task: Task) -> Tensor:
        """Append the task and its new classes, and return its targets: int64 `(N,)` into `classes_`."""
        if not task.labels or len(task.labels) != len(task.images):
            raise TaskDataError(
                f"Task {task.index} has {len(task.images)} images and {len(task.labels)} labels; "
                "it needs at least one image and one label an image."
            )
        new = tuple(label for label in task.classes if label not in self.classes_)
        self.classes_ += new
        self.class_tasks_ += (task.index,) * len(new)
        self.task_indexes_ += (task.index,)
        targets = self.targets(task.labels)
        self.ledger = self.ledger.with_task(task.index, targets)
        return targets

    def targets(self, labels: tuple[str, ...]) -> Tensor:
        """Return the class index of each label, int64 `(N,)`."""
        index = {label: i for i, label in enumerate(self.classes_)}
        return torch.tensor([index[label] for label in labels], dtype=torch.int64)

    def _consolidate(
        self,
        tasks: Sequence[Task],
        seed: int,
        checkpoints: Checkpoints,
        on_progress: ProgressFn,
    ) -> tuple[bool, str, dict[str, Any]]:
        """Train on the images of waiting tasks: the part of `consolidate` that is each strategy's own.

        Returns:
            Whether the strategy has changed, why, and JSON-serialisable details for the report.
        """
        raise NotImplementedError

    def _forget(self, removal: Removal, images: Sequence[Task], on_progress: ProgressFn) -> str:
        """Take out what `removal` names: the part of `unlearn` that is each strategy's own. Something stays.

        Calls `apply_removal` once it is sure to succeed. The calibration follows by itself.

        Returns:
            What in the scores still carries a trace, in plain sentences; empty where nothing does.
        """
        raise NotImplementedError

    def _correct(
        self,
        changes: Sequence[Change],
        images: Sequence[Tensor],
        ledger: Ledger,
        on_progress: ProgressFn,
    ) -> str:
        """Let images change their classes: the part of `correct` that is each strategy's own.

        Args:
            changes: What changes of each task, at most once for a task.
            images: Those of each change, uint8 `(N, 3, H, W)`.
            ledger: As it is afterwards; `self.ledger` is the one from before.
            on_progress: Told about `consolidating`.

        Returns:
            What in the scores still carries a trace, in plain sentences; empty where nothing does.
        """
        raise NotImplementedError

    def apply_removal(self, removal: Removal) -> None:
        """Shrink the bookkeeping to what stays."""
        first = {entry.target: entry.task for entry in reversed(removal.ledger.entries)}
        self.classes_ = tuple(self.classes_[k] for k in removal.kept.tolist())
        self.class_tasks_ = tuple(first[k] for k in range(len(self.classes_)))
        self.task_indexes_ = tuple(t for t in self.task_indexes_ if t not in removal.tasks)
        self.ledger = removal.ledger

    def _start_over(self) -> None:
        """Become as new."""
        vars(self).update(vars(type(self)(self.backbone, self.config)))

    def _looked_up(self, changes: Sequence[Relabelled]) -> list[Change]:
        """Return changes by the indexes of classes.

        Raises:
            CorrectionError: If there is nothing to do, or a task or label is not known.
        """
        labels = {label for each in changes for label in (*each.before, *each.after)} - {None}
        tasks = [each.task for each in changes]
        is_known = labels <= set(self.classes_) and set(tasks) <= set(self.task_indexes_)
        if not labels or not is_known or len(set(tasks)) < len(tasks):
            raise CorrectionError(
                "A correction names images of tasks that are known, each task once, and classes that are known."
            )
        of_classes = [Change.of(each, self.classes_) for each in changes]
        shown = {(entry.task, entry.target): entry.n_images for entry in self.ledger.entries}
        for change in of_classes:
            for i in change.leaving:
                shown[change.task, change.before[i]] = left = (
                    shown.get((change.task, change.before[i]), 0) - 1
                )
                if left < 0:
                    raise CorrectionError(
                        f"Task {change.task} shows fewer images of a class than the correction names."
                    )
        return of_classes

    def _require_left(self, ledger: Ledger) -> None:
        """Refuse a correction that leaves a class or task without a training image."""
        targets = {entry.target for entry in ledger.entries}
        bare = [label for k, label in enumerate(self.classes_) if k not in targets]
        if bare:
            raise CorrectionError(
                f"No training image of {', '.join(bare)} would stay: unlearn the class instead."
            )
        tasks = {entry.task for entry in ledger.entries}
        if gone := [str(index) for index in self.task_indexes_ if index not in tasks]:
            raise CorrectionError(
                f"No training image of task {', '.join(gone)} would stay: unlearn the task instead."
            )

    def _require_known(self, tasks: Collection[int], classes: Collection[str]) -> None:
        if not tasks and not classes:
            raise UnknownContentError("Name at least one task or class to unlearn.")
        strange = [str(task) for task in tasks if task not in self.task_indexes_]
        strange += [label for label in classes if label not in self.classes_]
        if strange:
            raise UnknownContentError(
                f"This learner has not learned {', '.join(strange)}, or has unlearned it already."
            )

    def _require_learned(self) -> None:
        if not self.classes_:
            raise NotLearnedError("This learner has not learned any class yet: post a task first.")

    def calibration_set(self, task: Task) -> tuple[Tensor, Tensor]:
        """Return images and targets to calibrate on: the held-out ones, or the training ones where none are.

        Training images flatter: scores come out too sure, and known images too familiar.
        """
        if task.held_out_images is None or len(task.held_out_images) == 0:
            return task.images, self.targets(task.labels)
        return task.held_out_images, self.targets(task.held_out_labels)

    def calibrate(self, task: Task) -> None:
        """Learn from a task's images how sure to be, and how far known images usually are."""
        images, targets = self.calibration_set(task)
        raw = self.score(images)
        # What cannot be taken out again need not be told apart.
        index = 0 if self.unlearning == "none" else task.index
        self.calibration.add(raw.logits, targets, raw.distances, task=index)
