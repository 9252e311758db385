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
from models.halfway import Halfway
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
    is_hopeless,
    parts,
    reach_verdict,
    split,
    why_not,
)
from models.strategies.subnetwork import train_subnetwork
from models.strategies.values import Task

MAPS = 5
"""Of the move, each fitted without some of the classes."""


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
    own_features: Tensor
    """Of the images under the sub-network alone, `(N, W)`."""
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
    """Images of waiting tasks, and what they would change. All features are of the N images and the E held-out ones."""

    backbone: Backbone
    config: ArtsyConfig
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

    def run(self, on_progress: ProgressFn) -> Outcome:
        """Train a sub-network if there is a point in it, and see whether it helps."""
        shots, config = self.shots, self.config
        reason = why_not(shots.targets, config.adapt, others=self._has_others())
        if reason is not None:
            return Outcome(Verdict(adopted=False, reason=reason))
        halfway = Halfway(
            self.backbone,
            torch.cat([shots.images, shots.held_out_images]),
            self.before,
            block=config.first_trained(self.backbone),
            pooling=config.pooling,
        )
        features = halfway.embed(self.before)
        if config.adapt == "evidence" and self._has_nothing_to_gain(features):
            return Outcome(Verdict(adopted=False, reason="its images are told apart as it is"))
        is_open = config.adapt == "evidence"
        # Where nothing is decided one part says what the move does.
        deal = parts if is_open else _one_part
        judging = deal(shots.targets, seed=derive_seed(self.seed, self._first, 4))
        probes: list[_Probe] = []
        for place, judged in enumerate(judging):
            told = _told_of(on_progress, place, len(judging))
            own, loss = self._train(judged, place, told)
            functional = consolidated(
                self.before, own, n_before=self.n_moved, n_new=len(shots.tasks.unique())
            )
            moved = halfway.embed(functional)
            probe = _Probe(own, functional, moved, self._asked(judged, place), loss)
            probes.append(self._judged(probe, features, judged))
            if is_open and is_hopeless(*_all_losses(probes)[:2]):
                break
        first = probes[0]
        verdict = self._verdict(probes)
        if not verdict.adopted:
            return Outcome(verdict, first.loss)
        n, own_features = len(shots.images), halfway.embed(first.own)
        move = Move(
            first.own,
            first.functional,
            Drift.fit(features[:n], first.moved[:n]),
            first.moved[:n],
            own_features[:n],
            ~judging[0],
            self._earns(first, own_features, judging[0]),
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
        everything = torch.ones(len(self.shots.targets), dtype=torch.bool)
        shown = self._with(self.known, features, everything)
        left_out = folds(shown)
        if not left_out:
            return False
        answers = weigh(shown, Prior(self.reference), left_out).answers
        rows = torch.cat([fold.rows for fold in left_out])
        wrong = (answers.argmax(dim=1) != shown.targets[rows])[rows >= len(self.known.rows)]
        return len(wrong) > 0 and float(wrong.double().mean()) <= LEAST_WRONG

    def _judged(self, probe: "_Probe", features: Tensor, judged: Tensor) -> "_Probe":
        """Ask about images that trained nothing, and rows of old classes, without and with the move."""
        asked, moved = probe.asked, probe.moved
        if not asked.any():
            return probe
        trained = (~judged).nonzero().squeeze(1)
        drift = Drift.fit(features[trained], moved[trained])
        missed = self._missed(features, moved, trained, asked)
        answers = self._answers[asked]
        old = self._judge(features, judged, None, None)
        new = self._judge(moved, judged, drift, missed)
        alone = new.head.probabilities(moved[asked])
        return replace(
            probe,
            alone=alone,
            losses=(
                _losses(old.head.probabilities(features[asked]), answers),
                _losses(alone, answers),
                old.losses,
                new.losses,
            ),
        )

    def _missed(self, features: Tensor, moved: Tensor, trained: Tensor, asked: Tensor) -> Tensor:
        """Return by how much a map of the move misses images of classes that it was not fitted on, `(J, W)`.

        Old classes are such classes. Of one or two classes alone it is images that it was not fitted on.
        """
        classes, answers = self.shots.targets.unique(), self._answers
        n_parts = min(MAPS, len(classes)) if len(classes) > 2 else 1
        missed = torch.empty_like(moved, dtype=torch.float64, device="cpu")
        for part in range(n_parts):
            left_out = classes[part::n_parts] if n_parts > 1 else classes[:0]
            fitted = trained[~torch.isin(answers[trained], left_out)]
            drift = Drift.fit(features[fitted], moved[fitted])
            rows = asked & torch.isin(answers, left_out) if n_parts > 1 else asked
            missed[rows] = moved[rows].cpu() - drift.apply(features[rows].cpu().double())
        return missed[asked]

    def _verdict(self, probes: Sequence["_Probe"]) -> Verdict:
        return reach_verdict(
            *_all_losses(probes),
            new_share=len(self.shots.targets.unique()) / len(self.known.counts),
            always=self.config.adapt == "always",
        )

    def _train(
        self, judged: Tensor, place: int, on_progress: ProgressFn
    ) -> tuple[Adapter, float | None]:
        """Train on the images that do not judge; a lone class against the means of the others."""
        config, backbone = self.config, self.backbone
        images, targets = self.shots.images[~judged], self.shots.targets[~judged]
        seed = derive_seed(self.seed, place) if place else self.seed
        others = None
        if len(targets.unique()) < 2:
            there = self.known.counts > 0
            there[targets] = False
            others = self.known.means[there][:, : backbone.feature_width].float()
        return train_subnetwork(
            backbone,
            Task(self._first, images, (), seed=seed, checkpoints=self.checkpoints),
            targets,
            bottleneck=config.bottleneck,
            schedule=config.schedule(len(images)),
            start=self.before,
            first=config.first_trained(backbone),
            n_views=config.views,
            patch_share=config.patch_share,
            others=others,
            on_progress=on_progress,
        )

    @property
    def _answers(self) -> Tensor:
        """Targets of all images, int64 `(N + E,)`."""
        return torch.cat([self.shots.targets, self.shots.held_out_targets])

    def _asked(self, judged: Tensor, place: int) -> Tensor:
        """Say which images are asked about: those that judge, and once the held-out ones; bool `(N + E,)`."""
        held_out = torch.full_like(self.shots.held_out_targets, place == 0, dtype=torch.bool)
        return torch.cat([judged, held_out])

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
        """Return what is known with some of the images, bool `(N,)`."""
        of_images = features[: len(chosen)]
        for index in self.shots.tasks.unique(sorted=True).tolist():
            mine = chosen & (self.shots.tasks == index)
            if mine.any():
                known = known.joined(index, *_records(of_images[mine], self.shots.targets[mine]))
        return known

    def _earns(self, probe: "_Probe", own_features: Tensor, judged: Tensor) -> bool:
        """Tell whether the sub-network's opinion leaves the answer to images it never saw as likely to be right."""
        if not probe.asked.any():
            return False
        of_images = own_features[: len(judged)]
        classes, records = _records(of_images[~judged], self.shots.targets[~judged])
        subnetwork = SilentSubnetwork.of(self._first, probe.own, classes, records)
        mine = probe.alone[:, classes].clamp(min=1e-30)
        opinion = subnetwork.log_probabilities(own_features[probe.asked])
        right = torch.searchsorted(classes, self._answers[probe.asked])
        return earns_its_pass(mine / mine.sum(dim=1, keepdim=True), opinion, right)


_NONE = torch.empty(0)


@dataclass(frozen=True)
class _Probe:
    """One training, and what images that it never saw say about it. Shapes: J of them, M old rows."""

    own: Adapter
    functional: Adapter
    moved: Tensor
    """Features under the functional adapter that moved, `(N + E, W)`."""
    asked: Tensor
    """Which of them are asked about, bool `(N + E,)`, J of them."""
    loss: float | None
    alone: Tensor = _NONE
    """Probabilities with the move, `(J, K)`."""
    losses: tuple[Tensor, Tensor, Tensor, Tensor] = (_NONE, _NONE, _NONE, _NONE)
    """Of the images that are asked about, `(J,)`, and of old rows, `(M,)`, each without and with the move."""


@dataclass(frozen=True)
class _Judgement:
    head: EvidenceHead
    losses: Tensor
    """Of old rows that are left out in turn, `(M,)`."""


def _one_part(targets: Tensor, *, seed: int) -> list[Tensor]:
    return [split(targets, seed=seed)]


def _all_losses(probes: Sequence[_Probe]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the losses that all trainings so far came to, put together; see `_Probe.losses`."""
    before, after, old_before, old_after = zip(*(probe.losses for probe in probes), strict=True)
    return torch.cat(before), torch.cat(after), torch.cat(old_before), torch.cat(old_after)


def _records(features: Tensor, targets: Tensor) -> tuple[Tensor, FeatureRecords]:
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
