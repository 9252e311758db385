"""Whether a task's sub-network may move the features of all classes: only where images it never saw say that it helps.

A fifth of the task's images is kept from the training. These judge it, with the rows of old classes: the answer to both
has to become more likely to be right. What is stored in the end is of all images.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from models.adapter import Adapter
from models.backbone import Backbone
from models.consolidation import consolidated
from models.evidence import EvidenceHead, folds, weigh
from models.fitting import derive_seed
from models.merging import earns_its_pass
from models.progress import ProgressFn
from models.reference import Prior, Reference
from models.shown import FeatureRecords, Shown
from models.statistics import Drift
from models.strategies.artsy.config import ArtsyConfig
from models.strategies.artsy.silent import SilentSubnetwork
from models.strategies.artsy.verdict import (
    LEAST_WRONG,
    Verdict,
    astray,
    reach_verdict,
    split,
    why_not,
)
from models.strategies.subnetwork import train_subnetwork
from models.strategies.values import Task

Embed = Callable[[Tensor, Adapter | None], Tensor]


@dataclass(frozen=True)
class Outcome:
    """How features are read from now on. Shapes: N images, W feature width."""

    verdict: Verdict
    features: Tensor
    """Of the task's images, `(N, W)`."""
    trained: Tensor | None = None
    """Which of the images trained the sub-network that was adopted, bool `(N,)`. None where none was."""
    own: Adapter | None = None
    """The task's sub-network; None where it was not trained or not adopted."""
    functional: Adapter | None = None
    """The functional adapter that moved."""
    drift: Drift | None = None
    """How it moved features."""
    earned: bool = False
    """Whether the sub-network's opinion is worth a pass of its own."""
    loss: float | None = None
    """Of the last epoch of training."""


@dataclass(frozen=True)
class Trial:
    """One task's images, and what they would change. Shapes: N images, E held-out ones."""

    embed: Embed
    """Returns features `(N, W)` of images under an adapter."""
    before: Adapter | None
    """The functional adapter as it is."""
    n_moved: int
    """How many tasks moved it."""
    known: Shown
    """Of all classes, those of the task without an image, where features are now."""
    reference: Reference
    task: Task
    targets: Tensor
    """int64 `(N,)`."""
    held_out_targets: Tensor
    """int64 `(E,)`."""

    def run(self, backbone: Backbone, config: ArtsyConfig, on_progress: ProgressFn) -> Outcome:
        """Train a sub-network if there is a point in it, and see whether it helps."""
        features = self.embed(self.task.images, self.before)
        reason = why_not(self.targets, config.adapt)
        if reason is None and config.adapt == "evidence":
            reason = self._nothing_to_gain(features)
        if reason is not None:
            return Outcome(Verdict(adopted=False, reason=reason), features)
        judged = split(self.targets, seed=derive_seed(self.task.seed, self.task.index, 4))
        own, loss = self._train(judged, backbone, config, on_progress)
        functional = consolidated(self.before, own, n_before=self.n_moved)
        moved = self.embed(self.task.images, functional)
        images, answers = self._asked(judged)
        alone = torch.empty(0, len(self.known.counts))
        verdict = reach_verdict(*[torch.empty(0)] * 4, always=config.adapt == "always")
        if len(answers):
            # On images that the drift was not fitted on it shows by how much it misses.
            drift = Drift.fit(features[~judged], moved[~judged])
            asked_before, asked = (self.embed(images, a) for a in (self.before, functional))
            residuals = asked.cpu() - drift.apply(asked_before.cpu().double())
            old = self._judge(features, judged, None, None)
            new = self._judge(moved, judged, drift, residuals)
            alone = new.head.probabilities(asked)
            verdict = reach_verdict(
                _losses(old.head.probabilities(asked_before), answers),
                _losses(alone, answers),
                old.losses,
                new.losses,
                new_share=len(self.targets.unique()) / len(self.known.counts),
                always=config.adapt == "always",
            )
        if not verdict.adopted:
            return Outcome(verdict, features, loss=loss)
        return Outcome(
            verdict,
            moved,
            ~judged,
            own,
            functional,
            Drift.fit(features, moved),
            earned=bool(len(answers)) and self._earns(own, judged, images, answers, alone),
            loss=loss,
        )

    def _nothing_to_gain(self, features: Tensor) -> str | None:
        """Say so if images of the task that are left out in turn are hardly ever answered wrongly as it is."""
        shown = self._with_task(self.known, features, self.targets)
        left_out = folds(shown)
        if not left_out:
            return None
        answers = weigh(shown, Prior(self.reference), left_out).answers
        rows = torch.cat([fold.rows for fold in left_out])
        wrong = (answers.argmax(dim=1) != shown.targets[rows])[rows >= len(self.known.rows)]
        is_known = len(wrong) > 0 and float(wrong.double().mean()) <= LEAST_WRONG
        return "its images are told apart as it is" if is_known else None

    def _train(
        self, judged: Tensor, backbone: Backbone, config: ArtsyConfig, on_progress: ProgressFn
    ) -> tuple[Adapter, float | None]:
        """Train on the images that do not judge."""
        learned = replace(self.task, images=self.task.images[~judged], labels=())
        return train_subnetwork(
            backbone,
            learned,
            self.targets[~judged],
            bottleneck=config.bottleneck,
            schedule=config.schedule(len(learned.images)),
            start=self.before,
            on_progress=on_progress,
        )

    def _asked(self, judged: Tensor) -> tuple[Tensor, Tensor]:
        """Return images that trained nothing, and their targets: those kept from training, and the held-out ones."""
        images, targets = self.task.images[judged], self.targets[judged]
        if self.task.held_out_images is None or not len(self.task.held_out_images):
            return images, targets
        return (
            torch.cat([images, self.task.held_out_images]),
            torch.cat([targets, self.held_out_targets]),
        )

    def _judge(
        self, features: Tensor, judged: Tensor, drift: Drift | None, residuals: Tensor | None
    ) -> "_Judgement":
        """Read features without the judged images, and old rows left out in turn, where their images would be."""
        known = self.known.moved(drift)
        shown = self._with_task(known, features[~judged], self.targets[~judged])
        prior = Prior(self.reference.carried(drift))
        left_out = folds(shown)
        opinions = weigh(shown, prior, left_out).opinions
        head = EvidenceHead(shown, prior, opinions)
        losses = [torch.empty(0, dtype=torch.float64)]
        for fold in left_out:
            old = fold.rows[fold.rows < len(known.rows)]
            if len(old):
                rows = shown.rows[old]
                if residuals is not None:
                    rows = astray(rows, residuals, seed=derive_seed(self.task.seed, len(old)))
                answers = EvidenceHead(fold.rest, prior, opinions).probabilities(rows)
                losses.append(_losses(answers, shown.targets[old]))
        return _Judgement(head, torch.cat(losses))

    def _with_task(self, known: Shown, features: Tensor, targets: Tensor) -> Shown:
        """Return what is known with images of the task: features `(n, W)` and targets `(n,)`."""
        return known.joined(self.task.index, *_records(features, targets))

    def _earns(
        self, own: Adapter, judged: Tensor, images: Tensor, answers: Tensor, alone: Tensor
    ) -> bool:
        """Tell whether the sub-network's opinion leaves the answer to images it never saw as likely to be right."""
        features = self.embed(self.task.images[~judged], own)
        classes, records = _records(features, self.targets[~judged])
        subnetwork = SilentSubnetwork.of(self.task.index, own, classes, records)
        mine = alone[:, classes].clamp(min=1e-30)
        opinion = subnetwork.log_probabilities(self.embed(images, own))
        right = torch.searchsorted(classes, answers)
        return earns_its_pass(mine / mine.sum(dim=1, keepdim=True), opinion, right)


@dataclass(frozen=True)
class _Judgement:
    head: EvidenceHead
    losses: Tensor
    """Of old rows that are left out in turn, `(M,)`."""


def _records(features: Tensor, targets: Tensor) -> tuple[Tensor, FeatureRecords]:
    """Return the classes among targets `(n,)`, int64 `(C,)`, and the records of their features `(n, W)`."""
    classes, local = targets.unique(return_inverse=True)
    return classes, FeatureRecords.of(features, local, len(classes), seed=0)


def _losses(probabilities: Tensor, targets: Tensor) -> Tensor:
    """Return the negative log-likelihood of the right answers, float64 `(B,)`."""
    right = probabilities.double().gather(1, targets[:, None])[:, 0]
    return -right.clamp(min=1e-12).log()
