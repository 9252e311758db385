"""Whether a sub-network may move the features of all classes: only where images it never saw say that it helps.

It is trained on the images of all tasks that wait, so that classes learned one by one are told apart by training too.
Some images are kept from the training and judge it, with the rows of old classes: the answer to both has to become more
likely to be right. Where there are few, one part after the other is kept from a training of its own. What is stored in
the end is of all images.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from models.adapter import Adapter
from models.backbone import Backbone
from models.checkpoint import Checkpoints
from models.consolidation import consolidated
from models.evidence import EvidenceHead, folds, weigh
from models.fitting import derive_seed
from models.merging import earns_its_pass
from models.progress import Progress, ProgressFn
from models.reference import Prior, Reference
from models.shown import FeatureRecords, Shown
from models.statistics import Drift
from models.strategies.artsy.config import ArtsyConfig
from models.strategies.artsy.silent import SilentSubnetwork
from models.strategies.artsy.verdict import (
    LEAST_WRONG,
    Verdict,
    astray,
    parts,
    reach_verdict,
    why_not,
)
from models.strategies.subnetwork import train_subnetwork
from models.strategies.values import Task

MAPS = 5
"""Of the move, each fitted without some of the classes."""

Embed = Callable[[Tensor, Adapter | None], Tensor]


@dataclass(frozen=True)
class Outcome:
    """How features are read from now on. Shapes: N images, W feature width."""

    verdict: Verdict
    loss: float | None = None
    """Of the last epoch of training. None where nothing was trained."""
    move: "Move | None" = None
    """None where the features stay."""


@dataclass(frozen=True)
class Move:
    """A sub-network that was adopted. Shapes: N images, W feature width."""

    own: Adapter
    functional: Adapter
    """The functional adapter that moved."""
    drift: Drift
    """How it moved features."""
    features: Tensor
    """Of the images, moved, `(N, W)`."""
    trained: Tensor
    """Which of the images trained it, bool `(N,)`."""
    earned: bool
    """Whether its opinion is worth a pass of its own."""


@dataclass(frozen=True)
class Shots:
    """Images of several tasks, put together. Shapes: N images, E held-out ones."""

    images: Tensor
    """uint8 `(N, 3, H, W)`."""
    targets: Tensor
    """int64 `(N,)`."""
    tasks: Tensor
    """Index of the task of each, int64 `(N,)`."""
    held_out_images: Tensor
    """uint8 `(E, 3, H, W)`."""
    held_out_targets: Tensor
    """int64 `(E,)`."""

    @classmethod
    def of(cls, tasks: Sequence[Task], targets_of: Callable[[tuple[str, ...]], Tensor]) -> "Shots":
        """Put the images of tasks together; `targets_of` returns the class index of labels."""
        held_out = [task.held_out_images for task in tasks if task.held_out_images is not None]
        return cls(
            torch.cat([task.images for task in tasks]),
            torch.cat([targets_of(task.labels) for task in tasks]),
            torch.cat([torch.full((len(task.images),), task.index) for task in tasks]),
            torch.cat(held_out) if held_out else tasks[0].images[:0],
            torch.cat([targets_of(task.held_out_labels) for task in tasks]),
        )


@dataclass(frozen=True)
class Trial:
    """Images of waiting tasks, and what they would change."""

    embed: Embed
    """Returns features `(N, W)` of images under an adapter."""
    before: Adapter | None
    """The functional adapter as it is."""
    n_moved: int
    """How many tasks moved it."""
    known: Shown
    """Of all classes, where features are now, without what these tasks showed."""
    reference: Reference
    shots: Shots
    seed: int
    checkpoints: Checkpoints

    def run(self, backbone: Backbone, config: ArtsyConfig, on_progress: ProgressFn) -> Outcome:
        """Train a sub-network if there is a point in it, and see whether it helps."""
        shots = self.shots
        reason = why_not(shots.targets, config.adapt, others=self._has_others())
        if reason is not None:
            return Outcome(Verdict(adopted=False, reason=reason))
        features = self.embed(shots.images, self.before)
        if config.adapt == "evidence" and self._has_nothing_to_gain(features):
            return Outcome(Verdict(adopted=False, reason="its images are told apart as it is"))
        judging = parts(shots.targets, seed=derive_seed(self.seed, self._first, 4))
        probes = []
        for i, judged in enumerate(judging):
            told = _told_of(on_progress, i, len(judging))
            probes.append(self._probe(features, judged, i, backbone, config, told))
        first = probes[0]
        verdict = self._verdict(probes, config)
        if not verdict.adopted:
            return Outcome(verdict, first.loss)
        move = Move(
            first.own,
            first.functional,
            Drift.fit(features, first.moved),
            first.moved,
            ~judging[0],
            self._earns(first, judging[0]),
        )
        return Outcome(verdict, first.loss, move)

    @property
    def _first(self) -> int:
        """Index of the first task."""
        return int(self.shots.tasks[0])

    def _has_others(self) -> bool:
        others = self.known.counts > 0
        others[self.shots.targets] = False
        return bool(others.any())

    def _has_nothing_to_gain(self, features: Tensor) -> bool:
        """Tell whether images that are left out in turn are hardly ever answered wrongly as it is."""
        shown = self._with(self.known, features, torch.ones(len(features), dtype=torch.bool))
        left_out = folds(shown)
        if not left_out:
            return False
        answers = weigh(shown, Prior(self.reference), left_out).answers
        rows = torch.cat([fold.rows for fold in left_out])
        wrong = (answers.argmax(dim=1) != shown.targets[rows])[rows >= len(self.known.rows)]
        return len(wrong) > 0 and float(wrong.double().mean()) <= LEAST_WRONG

    def _probe(
        self,
        features: Tensor,
        judged: Tensor,
        place: int,
        backbone: Backbone,
        config: ArtsyConfig,
        on_progress: ProgressFn,
    ) -> "_Probe":
        """Train without the images that judge, bool `(N,)`, and ask about these without and with the move."""
        own, loss = self._train(judged, place, backbone, config, on_progress)
        functional = consolidated(
            self.before, own, n_before=self.n_moved, n_new=len(self.shots.tasks.unique())
        )
        moved = self.embed(self.shots.images, functional)
        images, answers = self._asked(judged, place)
        if not len(answers):
            return _Probe(own, functional, moved, loss)
        asked_before, asked = (self.embed(images, a) for a in (self.before, functional))
        drift = Drift.fit(features[~judged], moved[~judged])
        residuals = self._missed(features, moved, judged, asked_before, asked, answers)
        old = self._judge(features, judged, None, None)
        new = self._judge(moved, judged, drift, residuals)
        alone = new.head.probabilities(asked)
        losses = _losses(old.head.probabilities(asked_before), answers), _losses(alone, answers)
        return _Probe(
            own, functional, moved, loss, images, answers, alone, *losses, old.losses, new.losses
        )

    def _missed(
        self,
        features: Tensor,
        moved: Tensor,
        judged: Tensor,
        asked_before: Tensor,
        asked: Tensor,
        answers: Tensor,
    ) -> Tensor:
        """Return by how much a map of the move misses images of classes that it was not fitted on, `(J, W)`.

        Old classes are such classes. Of one or two classes alone it is images that it was not fitted on.
        """
        classes = self.shots.targets.unique()
        n_parts = min(MAPS, len(classes)) if len(classes) > 2 else 1
        missed = torch.empty_like(asked, dtype=torch.float64, device="cpu")
        for part in range(n_parts):
            left_out = classes[part::n_parts] if n_parts > 1 else classes[:0]
            fitted = ~judged & ~torch.isin(self.shots.targets, left_out)
            drift = Drift.fit(features[fitted], moved[fitted])
            rows = torch.isin(answers, left_out) if n_parts > 1 else answers >= 0
            missed[rows] = asked[rows].cpu() - drift.apply(asked_before[rows].cpu().double())
        return missed

    def _verdict(self, probes: Sequence["_Probe"], config: ArtsyConfig) -> Verdict:
        share = len(self.shots.targets.unique()) / len(self.known.counts)
        columns = zip(*(probe.losses for probe in probes), strict=True)
        return reach_verdict(
            *(torch.cat(column) for column in columns),
            new_share=share,
            always=config.adapt == "always",
        )

    def _train(
        self,
        judged: Tensor,
        place: int,
        backbone: Backbone,
        config: ArtsyConfig,
        on_progress: ProgressFn,
    ) -> tuple[Adapter, float | None]:
        """Train on the images that do not judge; a lone class against the means of the others."""
        targets = self.shots.targets[~judged]
        seed = derive_seed(self.seed, place) if place else self.seed
        learned = Task(
            self._first,
            self.shots.images[~judged],
            (),
            seed=seed,
            checkpoints=self.checkpoints,
        )
        others = None
        if len(targets.unique()) < 2:
            there = self.known.counts > 0
            there[targets] = False
            others = self.known.means[there][:, : backbone.feature_width].float()
        return train_subnetwork(
            backbone,
            learned,
            targets,
            bottleneck=config.bottleneck,
            schedule=config.schedule(len(learned.images)),
            start=self.before,
            others=others,
            on_progress=on_progress,
        )

    def _asked(self, judged: Tensor, place: int) -> tuple[Tensor, Tensor]:
        """Return images that trained nothing, and their targets: those that judge, and once the held-out ones."""
        shots = self.shots
        images, targets = shots.images[judged], shots.targets[judged]
        if place:
            return images, targets
        return (
            torch.cat([images, shots.held_out_images]),
            torch.cat([targets, shots.held_out_targets]),
        )

    def _judge(
        self, features: Tensor, judged: Tensor, drift: Drift | None, residuals: Tensor | None
    ) -> "_Judgement":
        """Read features without the judged images, and old rows left out in turn, where their images would be."""
        known = self.known.moved(drift)
        shown = self._with(known, features, ~judged)
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
                    rows = astray(rows, residuals, seed=derive_seed(self.seed, len(old)))
                answers = EvidenceHead(fold.rest, prior, opinions).probabilities(rows)
                losses.append(_losses(answers, shown.targets[old]))
        return _Judgement(head, torch.cat(losses))

    def _with(self, known: Shown, features: Tensor, chosen: Tensor) -> Shown:
        """Return what is known with some of the images: features `(N, W)`, bool `(N,)`."""
        for index in self.shots.tasks.unique(sorted=True).tolist():
            mine = chosen & (self.shots.tasks == index)
            if mine.any():
                known = known.joined(index, *records_of(features[mine], self.shots.targets[mine]))
        return known

    def _earns(self, probe: "_Probe", judged: Tensor) -> bool:
        """Tell whether the sub-network's opinion leaves the answer to images it never saw as likely to be right."""
        if not len(probe.answers):
            return False
        shots = self.shots
        features = self.embed(shots.images[~judged], probe.own)
        classes, records = records_of(features, shots.targets[~judged])
        subnetwork = SilentSubnetwork.of(self._first, probe.own, classes, records)
        mine = probe.alone[:, classes].clamp(min=1e-30)
        opinion = subnetwork.log_probabilities(self.embed(probe.images, probe.own))
        right = torch.searchsorted(classes, probe.answers)
        return earns_its_pass(mine / mine.sum(dim=1, keepdim=True), opinion, right)


_NONE = torch.empty(0)


@dataclass(frozen=True)
class _Probe:
    """One training, and what images that it never saw say about it. Shapes: J of them, M old rows."""

    own: Adapter
    functional: Adapter
    moved: Tensor
    """Features of all images under the functional adapter that moved, `(N, W)`."""
    loss: float | None
    images: Tensor = _NONE
    answers: Tensor = _NONE
    alone: Tensor = _NONE
    """Probabilities with the move, `(J, K)`."""
    before: Tensor = _NONE
    after: Tensor = _NONE
    old_before: Tensor = _NONE
    old_after: Tensor = _NONE

    @property
    def losses(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Of the images that judge, and of old rows, each without and with the move."""
        return self.before, self.after, self.old_before, self.old_after


@dataclass(frozen=True)
class _Judgement:
    head: EvidenceHead
    losses: Tensor
    """Of old rows that are left out in turn, `(M,)`."""


def records_of(features: Tensor, targets: Tensor) -> tuple[Tensor, FeatureRecords]:
    """Return the classes among targets `(n,)`, int64 `(C,)`, and the records of their features `(n, W)`."""
    classes, local = targets.unique(return_inverse=True)
    return classes, FeatureRecords.of(features, local, len(classes), seed=0)


def _told_of(on_progress: ProgressFn, place: int, n_parts: int) -> ProgressFn:
    """Return what tells of one of several trainings as a part of the whole."""

    def tell(progress: Progress) -> None:
        on_progress(replace(progress, fraction=(place + progress.fraction) / n_parts))

    return tell


def _losses(probabilities: Tensor, targets: Tensor) -> Tensor:
    """Return the negative log-likelihood of the right answers, float64 `(B,)`."""
    right = probabilities.double().gather(1, targets[:, None])[:, 0]
    return -right.clamp(min=1e-12).log()
