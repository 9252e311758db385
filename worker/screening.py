"""Looking at a task's images before they are learned, and at what learning them did, before it is published."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import structlog
import torch
from torch import Tensor

from models.backbone import Backbone
from models.copies import thumbnails
from models.harm import find_harm
from models.screening import (
    KNOWN_IMAGES,
    Finding,
    LabelledFeatures,
    choose_suspects,
    screen,
)
from models.strategies.base import Strategy
from models.strategies.catalog import create_strategy
from models.strategies.values import Seen, Task
from registry import samples, versions
from registry.errors import VersionNotFoundError
from registry.postgres.database import Sessions
from registry.tables import CONSOLIDATE, SampleRow
from worker.attempt import Attempt, AttemptContext
from worker.errors import PermanentTaskError
from worker.known_images import KnownImages
from worker.samples import load_images

log = structlog.get_logger()

MOST_OF_CLASS = 200
"""Images of a class that are looked at, drawn by the task's seed: more would prove little more."""
ASKED_OF_CLASS = 30
"""Images of a class that the learner is asked about, to find the known classes it takes them for."""
BATCH = 64

Confusion = Mapping[str, Mapping[str, Mapping[str, int]]]
"""Counts by task, true label and answered label."""


def is_screened(attempt: Attempt) -> bool:
    """Whether anything is looked for. Tasks from before there was the option are not."""
    return bool(attempt.task.options.get("screening", "off") != "off")


def reason_to_hold(attempt: Attempt, findings: Sequence[Finding]) -> str | None:
    """Return why a task is to be held, in sentences for the person who decides; None if it is not.

    A consolidation is declined for it: there is nothing to decide.
    """
    if attempt.task.options.get("screening") != "hold":
        return None
    holding = [finding.detail for finding in findings if finding.holds]
    if not holding:
        return None
    if attempt.task.mode == CONSOLIDATE:
        return " ".join(holding)
    return " ".join([*holding, "Publish it to have it all the same, or cancel it."])


def screen_task(
    attempt: Attempt,
    task: Task,
    backbone: Backbone,
    context: AttemptContext,
) -> tuple[list[Finding], Task]:
    """Look for what is wrong with a task's images and labels. Takes a pass or two of each image.

    Deterministic: another attempt finds the same, but for the rounding of features.

    Returns:
        Findings, and the task with what its images look like where the strategy reads features: they are not embedded
        again then.
    """
    learner = _learner(attempt, backbone, context)
    images, chosen = _images_of(task), _draw(attempt, task)
    rows = [[*attempt.train, *attempt.held_out][i] for i in chosen.tolist()]
    labels = tuple(row.label for row in rows)
    if learner.reads_features:
        task, frozen = _look(task, learner)
        frozen = frozen[chosen]
    else:
        frozen = backbone.embed(images[chosen]).cpu()
    small = thumbnails(images[chosen])
    known = context.warm.known_images(attempt.learner.id, backbone)
    suspects = _suspects(learner, task, images, chosen, labels)
    compared = _look_up(attempt, learner, suspects, known, context)
    findings = screen(LabelledFeatures(frozen, labels, small), compared)
    known.add(rows, frozen, small)
    for finding in findings:
        log.info("finding", code=finding.code, holds=finding.holds, **finding.numbers)
    return findings, task


def screen_result(
    attempt: Attempt,
    strategy: Strategy[Any],
    confusion: Confusion,
    *,
    session_factory: Sessions,
) -> list[Finding]:
    """Compare how the learner does on earlier tasks with how its head did.

    A strategy that trains all classes into the same weights forgets by itself: there it is only mentioned.
    """
    if not attempt.learner.head_version:
        return []
    with session_factory() as session:
        try:
            head = versions.get_version(session, attempt.learner.id, attempt.learner.head_version)
        except VersionNotFoundError:
            return []
        before: Confusion = head.metrics.get("confusion", {})
    common = [index for index in before if index in confusion]
    return find_harm(
        _by_label(before, common),
        _by_label(confusion, common),
        holds=strategy.unlearning != "none",
    )


def _learner(attempt: Attempt, backbone: Backbone, context: AttemptContext) -> Strategy[Any]:
    """Return what the learner knows so far; nothing before its first task."""
    if attempt.parent_manifest_sha256 is not None:
        return context.warm.learner(attempt.parent_manifest_sha256, context.blobs, backbone)
    return create_strategy(attempt.learner.strategy, attempt.task.config, backbone)


def _images_of(task: Task) -> Tensor:
    """Return all images of a task, trained on or held out, in the order of the attempt's rows."""
    if task.held_out_images is None:
        return task.images
    return torch.cat([task.images, task.held_out_images])


def _draw(attempt: Attempt, task: Task) -> Tensor:
    """Return which images of the task are looked at, int64: different ones, at most `MOST_OF_CLASS` of each class."""
    by_label: dict[str, dict[str, int]] = defaultdict(dict)
    for i, row in enumerate([*attempt.train, *attempt.held_out]):
        by_label[row.label].setdefault(row.blob_sha256, i)
    rng = np.random.default_rng(task.seed)
    chosen: list[int] = []
    for of_label in by_label.values():
        different = np.array(list(of_label.values()))
        chosen += sorted(rng.permutation(different)[:MOST_OF_CLASS].tolist())
    return torch.tensor(chosen)


def _look(task: Task, learner: Strategy[Any]) -> tuple[Task, Tensor]:
    """Embed a task's images; return it with their features, and what the frozen backbone makes of all, `(N + E, D)`."""
    fingerprint = learner.fingerprint_of_features()
    features, frozen = learner.look(task.images)
    if task.held_out_images is None:
        return replace(task, seen=Seen(fingerprint, features, features[:0])), frozen
    held_out, frozen_held_out = learner.look(task.held_out_images)
    seen = Seen(fingerprint, features, held_out)
    return replace(task, seen=seen), torch.cat([frozen, frozen_held_out])


def _suspects(
    learner: Strategy[Any], task: Task, images: Tensor, chosen: Tensor, labels: Sequence[str]
) -> list[str]:
    """Return the known classes that the learner takes the chosen images for."""
    if not learner.classes_:
        return []
    seen: dict[str, int] = defaultdict(int)
    asked = []
    for i, label in enumerate(labels):
        if seen[label] < ASKED_OF_CLASS:
            seen[label] += 1
            asked.append(i)
    answers = []
    for part in torch.tensor(asked).split(BATCH):
        mine = images[chosen[part]]
        if task.seen is None:
            prediction = learner.predict(mine)
        else:
            features = torch.cat([task.seen.images, task.seen.held_out])[chosen[part]]
            prediction = learner.predict_features(features, mine.__getitem__)
        answers.append(prediction.probabilities.argmax(dim=1).cpu())
    return choose_suspects(torch.cat(answers), [labels[i] for i in asked], learner.classes_)


def _look_up(
    attempt: Attempt,
    learner: Strategy[Any],
    suspects: Sequence[str],
    known: KnownImages,
    context: AttemptContext,
) -> LabelledFeatures | None:
    """Return stored images of some known classes; None if there are none."""
    if not suspects:
        return None
    with context.session_factory() as session:
        rows = samples.samples_of_classes(
            session, attempt.learner.id, learner.task_indexes_, suspects, per_class=KNOWN_IMAGES
        )
    rows = _different(rows)
    if not rows:
        return None
    try:
        features, small = known.look_up(
            rows, lambda new: load_images(new, context.blobs, learner.backbone, lambda _: None)
        )
    except PermanentTaskError as error:
        # Images of another task: this one can be learned without them.
        log.warning("known_images_not_compared", reason=error.detail)
        return None
    return LabelledFeatures(features, tuple(row.label for row in rows), small)


def _different(rows: Sequence[SampleRow]) -> list[SampleRow]:
    return list({(row.label, row.blob_sha256): row for row in rows}.values())


def _by_label(confusion: Confusion, tasks: Sequence[str]) -> dict[str, dict[str, int]]:
    """Add up the counts of some tasks."""
    total: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for index in tasks:
        for label, answers in confusion[index].items():
            for answer, n in answers.items():
                total[label][answer] += n
    return total
