"""Looking at a task's images before they are learned, and at what learning them did, before it is published."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import structlog
import torch

from models.backbone import Backbone
from models.harm import find_harm
from models.screening import (
    KNOWN_IMAGES,
    Finding,
    LabelledFeatures,
    choose_suspects,
    screen,
)
from models.strategies.base import Strategy
from models.strategies.values import Task
from registry import samples, versions
from registry.blobs.store import BlobStore
from registry.errors import VersionNotFoundError
from registry.postgres.database import Sessions
from registry.tables import CONSOLIDATE, SampleRow
from worker.attempt import Attempt, AttemptContext
from worker.errors import PermanentTaskError
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
) -> list[Finding]:
    """Look for what is wrong with a task's images and labels. Takes a pass or two of each image.

    Deterministic: another attempt finds the same.
    """
    batch_images, labels = _draw(attempt, task)
    batch = LabelledFeatures(backbone.embed(batch_images).cpu(), labels, batch_images)
    known = None
    if attempt.parent_manifest_sha256 is not None:
        address, blobs = attempt.parent_manifest_sha256, context.blobs
        learner = context.warm.learner(address, blobs, backbone)
        known = _look_up(attempt, learner, batch_images, labels, context.session_factory, blobs)
    findings = screen(batch, known)
    for finding in findings:
        log.info("finding", code=finding.code, holds=finding.holds, **finding.numbers)
    return findings


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


def _draw(attempt: Attempt, task: Task) -> tuple[torch.Tensor, tuple[str, ...]]:
    """Return different images of the task, trained on or held out, at most `MOST_OF_CLASS` of each class."""
    rows = [*attempt.train, *attempt.held_out]
    images = task.images
    if task.held_out_images is not None:
        images = torch.cat([images, task.held_out_images])
    by_label: dict[str, dict[str, int]] = defaultdict(dict)
    for i, row in enumerate(rows):
        by_label[row.label].setdefault(row.blob_sha256, i)
    rng = np.random.default_rng(task.seed)
    chosen: list[int] = []
    for of_label in by_label.values():
        different = np.array(list(of_label.values()))
        chosen += sorted(rng.permutation(different)[:MOST_OF_CLASS].tolist())
    return images[torch.tensor(chosen)], tuple(rows[i].label for i in chosen)


def _look_up(
    attempt: Attempt,
    learner: Strategy[Any],
    images: torch.Tensor,
    labels: tuple[str, ...],
    session_factory: Sessions,
    blobs: BlobStore,
) -> LabelledFeatures | None:
    """Return stored images of the known classes that the learner takes the batch for; None if there are none."""
    seen: dict[str, int] = defaultdict(int)
    asked = []
    for i, label in enumerate(labels):
        if seen[label] < ASKED_OF_CLASS:
            seen[label] += 1
            asked.append(i)
    answers = torch.cat(
        [
            learner.predict(part).probabilities.argmax(dim=1).cpu()
            for part in images[torch.tensor(asked)].split(BATCH)
        ]
    )
    suspects = choose_suspects(answers, [labels[i] for i in asked], learner.classes_)
    with session_factory() as session:
        rows = samples.samples_of_classes(
            session, attempt.learner.id, learner.task_indexes_, suspects, per_class=KNOWN_IMAGES
        )
    rows = _different(rows)
    if not rows:
        return None
    try:
        stored = load_images(rows, blobs, learner.backbone, lambda _: None)
    except PermanentTaskError as error:
        # Images of another task: this one can be learned without them.
        log.warning("known_images_not_compared", reason=error.detail)
        return None
    features = learner.backbone.embed(stored).cpu()
    return LabelledFeatures(features, tuple(row.label for row in rows), stored)


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
