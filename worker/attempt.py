"""One attempt at a task: what it works with, and all that decides what it learns."""

import hashlib
import importlib.metadata
import json
import platform
import threading
from dataclasses import dataclass
from functools import cache
from typing import Any

from models.backbone import Backbone
from registry import learners, samples, tasks, versions
from registry.blobs.store import BlobStore
from registry.postgres.database import Session, Sessions
from registry.tables import LearnerRow, SampleRow, TaskRow
from worker.settings import WorkerSettings
from worker.warm import Warm

DISTRIBUTIONS = ("filopodia", "torch", "timm", "numpy", "pillow", "safetensors")
"""Whose versions are recorded with each version learned."""


@dataclass(frozen=True)
class AttemptContext:
    """What all attempts of this worker work with."""

    session_factory: Sessions
    blobs: BlobStore
    settings: WorkerSettings
    stop: threading.Event
    """Set when the worker is to stop."""
    warm: Warm
    """What this process has loaded already."""


@dataclass(frozen=True)
class Attempt:
    """What one attempt works with."""

    learner: LearnerRow
    task: TaskRow
    token: int
    parent_manifest_sha256: str | None
    train: list[SampleRow]
    held_out: list[SampleRow]
    """Of the classes that it trains on; those of others are measured only."""


def load_attempt(session: Session, task_id: str, token: int) -> Attempt:
    """Read what the attempt at a claimed task works with."""
    task = tasks.get_task(session, task_id)
    learner = learners.get_learner_by_id(session, task.learner_id)
    parent = None
    if learner.head_version:
        head = versions.get_version(session, learner.id, learner.head_version)
        parent = versions.address_of(head)
    train = samples.task_samples(session, task_id, "train")
    trained = {row.label for row in train}
    held_out = samples.task_samples(session, task_id, "eval")
    return Attempt(
        learner=learner,
        task=task,
        token=token,
        parent_manifest_sha256=parent,
        train=train,
        held_out=[row for row in held_out if row.label in trained],
    )


def identity(attempt: Attempt, backbone: Backbone) -> dict[str, Any]:
    """Return all that decides what this task learns: a checkpoint of anything else is none."""
    images = json.dumps([(row.label, row.blob_sha256) for row in attempt.train])
    return {
        "task": attempt.task.id,
        "index": attempt.task.index,
        "seed": attempt.task.seed,
        "strategy": attempt.learner.strategy,
        "config": attempt.task.config,
        "parent": attempt.parent_manifest_sha256,
        "images": hashlib.sha256(images.encode()).hexdigest(),
        "backbone": backbone.fingerprint,
        "code_versions": code_versions(),
    }


def code_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide what is learned."""
    return {"python": platform.python_version()} | {
        name: _version_of(name) for name in DISTRIBUTIONS
    }


@cache
def _version_of(distribution: str) -> str:
    """Return what is installed, which this process has loaded: reading it from the disk takes milliseconds."""
    return importlib.metadata.version(distribution)
