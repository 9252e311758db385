"""Made-up images and rows for tests: small, deterministic, and valid unless a test says otherwise."""

import colorsys
import hashlib
import io
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sqlalchemy.orm import Session

from registry import (
    learners,
    prediction_jobs,
    predictions,
    queue,
    samples,
    subscriptions,
    tasks,
    versions,
)
from registry.blobs.store import BlobStore
from registry.ids import new_id
from registry.notices import EVENTS, Rule
from registry.reviews import Look, NewReview
from registry.samples import NewSample
from registry.schedule import Schedule
from registry.stored_images import NewJobImage
from registry.tables import LearnerRow, PredictionJobRow, SubscriptionRow, TaskRow, VersionRow
from registry.versions import NewAccuracy, NewVersion
from service.intake.small import make_small

AT_ONCE = Schedule.parse("at_once")


def make_pixels(label: str = "heron", index: int = 0, size: int = 32) -> np.ndarray:
    """Return RGB pixels, uint8 (size, size, 3): each label has its own hue and stripes, each index its own noise."""
    digest = hashlib.sha256(label.encode()).digest()
    hue, period = digest[0] / 256, 3 + digest[1] % 8
    colour = np.array(colorsys.hsv_to_rgb(hue, 0.8, 0.9)) * 255
    rows = np.arange(size)[:, None] if digest[2] % 2 else np.arange(size)[None, :]
    stripes = 0.6 + 0.4 * ((rows // period) % 2)
    noise = np.random.default_rng([*digest[:4], index]).normal(0, 12, (size, size, 3))
    pixels = stripes[..., None] * colour + noise
    return np.clip(np.broadcast_to(pixels, (size, size, 3)), 0, 255).astype(np.uint8)


def make_image(label: str = "heron", index: int = 0, size: int = 32, format: str = "PNG") -> bytes:
    """Return an encoded image of a class; images of one label look alike, and differ by index."""
    buffer = io.BytesIO()
    Image.fromarray(make_pixels(label, index, size)).save(buffer, format=format)
    return buffer.getvalue()


def make_learner(
    session: Session,
    name: str = "birds",
    *,
    strategy: str = "simplecil",
    backbone: str = "tiny",
    config: dict[str, Any] | None = None,
    halved_to: int | None = 288,
) -> LearnerRow:
    """Add a learner to the database."""
    return learners.create_learner(
        session,
        name,
        strategy=strategy,
        backbone=backbone,
        config=config or {},
        halved_to=halved_to,
    )


def make_task(
    session: Session,
    blobs: BlobStore,
    learner_name: str = "birds",
    *,
    classes: Sequence[str] = ("heron", "egret"),
    n_train: int = 6,
    n_eval: int = 3,
    **task: Any,
) -> TaskRow:
    """Add a queued task with its samples and blobs: `n_train` and `n_eval` images for each class."""
    fields: dict[str, Any] = {
        "name": None,
        "mode": "new_classes",
        "options": {},
        "config": {},
        "seed": 0,
        **task,
    }
    row = tasks.add_task(
        session,
        learner_name,
        classes=classes,
        n_train=n_train * len(classes),
        n_eval=n_eval * len(classes),
        **fields,
    )
    wanted = [
        (label, "train" if i < n_train else "eval", i)
        for label in classes
        for i in range(n_train + n_eval)
    ]
    hashes = blobs.put_many(make_image(label, i) for label, _, i in wanted)
    new = [
        NewSample(label, split, sha256, f"{label}-{i}.png", 32, 32)
        for (label, split, i), sha256 in zip(wanted, hashes, strict=True)
    ]
    samples.add_samples(session, row.id, new, blobs)
    return row


def make_new_version(session: Session, task: TaskRow, **fields: Any) -> NewVersion:
    """Return what an attempt at the task would publish on top of its learner's head, all of it right."""
    learner = learners.get_learner_by_id(session, task.learner_id)
    known: list[str] = []
    if learner.head_version:
        known = versions.get_version(session, learner.id, learner.head_version).classes
    values: dict[str, Any] = {
        "parent": learner.head_version,
        "task_index": task.index,
        "config": task.config,
        "seed": task.seed,
        "backbone_fingerprint": "f" * 64,
        "manifest_sha256": hashlib.sha256(task.id.encode()).hexdigest(),
        "size_bytes": 1000,
        "classes": [*known, *(label for label in task.classes if label not in known)],
        "metrics": {},
        "code_versions": {"python": "3.11"},
        "accuracies": [NewAccuracy(task.index, 10, 9, 8, 7, 1.5)],
    }
    return NewVersion(**{**values, **fields})


def publish_task(session: Session, task: TaskRow, **fields: Any) -> VersionRow:
    """Claim a task and publish it without learning anything."""
    claimed = queue.claim(session, task.id, "tests", 30)
    assert claimed is not None
    new_version = make_new_version(session, task, **fields)
    return versions.publish(session, task.id, claimed.token, new_version)


def hold_unlearning(session: Session, learner_name: str, *, classes: Sequence[str]) -> TaskRow:
    """Add a task that has unlearned classes, and is held."""
    task = tasks.add_unlearning(
        session, learner_name, name=None, tasks=[], classes=classes, options={}, needs_images=False
    )
    claimed = queue.claim(session, task.id, "tests", 30)
    assert claimed is not None
    learner = learners.get_learner_by_id(session, task.learner_id)
    head = versions.get_version(session, learner.id, learner.head_version)
    left = [label for label in head.classes if label not in classes]
    new_version = make_new_version(session, task, classes=left, tasks=head.tasks)
    versions.hold(session, task.id, claimed.token, new_version, "It would forget too much.")
    return task


def make_job(
    session: Session,
    blobs: BlobStore,
    learner: LearnerRow,
    images: Sequence[NewJobImage],
    **fields: Any,
) -> PredictionJobRow:
    """Queue a prediction job of uploaded images, unless `fields` say otherwise."""
    stated: dict[str, Any] = {
        "version": 1,
        "source": "upload",
        "query": {},
        "top_k": 5,
        "trace": "none",
        "key_id": None,
    }
    return prediction_jobs.add_job(session, learner, images, blobs=blobs, **stated | fields)


def put_artifact(blobs: BlobStore, *files: bytes) -> str:
    """Keep files and a manifest that names them, as far as the registry looks into one, and return its hash."""
    hashes = blobs.put_many(files)
    named = {
        f"{i}.safetensors": {"sha256": sha256, "size": len(data)}
        for i, (sha256, data) in enumerate(zip(hashes, files, strict=True))
    }
    return blobs.put(json.dumps({"files": named}).encode())


def write_images(folder: Path, labels: dict[str, range]) -> None:
    """Write made-up images `label/index.png`."""
    for label, indexes in labels.items():
        (folder / label).mkdir(parents=True, exist_ok=True)
        for i in indexes:
            (folder / label / f"{i}.png").write_bytes(make_image(label, i))


def learn_at_once(
    session: Session,
    blobs: BlobStore,
    classes: Sequence[str],
    learner_name: str = "birds",
    schedule: Schedule = AT_ONCE,
) -> TaskRow:
    """Add a task and publish it as one that is to be consolidated, besides those that wait already."""
    task = make_task(session, blobs, learner_name, classes=classes, n_train=2, n_eval=1)
    claimed = queue.claim(session, task.id, "tests", 30)
    assert claimed is not None
    learner = learners.get_learner(session, learner_name)
    waiting: list[int] = []
    if learner.head_version:
        waiting = versions.get_version(session, learner.id, learner.head_version).unconsolidated
    new_version = make_new_version(session, task, unconsolidated=[*waiting, task.index])
    versions.publish(session, task.id, claimed.token, new_version, schedule)
    return task


def make_consolidated(session: Session, task: TaskRow, **fields: Any) -> NewVersion:
    """Return what a consolidation that was taken up would publish, all of it right."""
    learner = learners.get_learner_by_id(session, task.learner_id)
    head = versions.get_version(session, learner.id, learner.head_version)
    values: dict[str, Any] = {
        "tasks": head.tasks,
        "stage": "consolidated",
        "unconsolidated": [t for t in head.unconsolidated if t not in task.options["tasks"]],
        "accuracies": [],
        "result": {"adopted": True, "reason": "It is better."},
    }
    return make_new_version(session, task, **{**values, **fields})


def keep_images(
    session: Session,
    blobs: BlobStore,
    learner: LearnerRow,
    labels: Sequence[str],
    *,
    names: Sequence[str] = (),
    rivals: Sequence[str] = (),
    version: int = 1,
    known: bool = True,
    score: float = 0.5,
    novelty: float = 0.2,
    features: Sequence[Sequence[float]] = (),
) -> str:
    """Store a prediction that answered these labels, each nearly another one, and its images; return its id."""
    prediction_id = new_id("prd")
    now = datetime.now(UTC)
    results: list[dict[str, Any]] = []
    for i, label in enumerate(labels):
        rival = rivals[i] if i < len(rivals) else f"no {label}"
        top = [{"label": label, "score": score}, {"label": rival, "score": (1 - score) * 0.8}]
        results.append(
            {
                "index": i,
                "filename": names[i] if i < len(names) else None,
                "label": label,
                "score": score,
                "novelty": novelty,
                "known": known,
                "top": top,
            }
        )
    prediction = predictions.NewPrediction(
        prediction_id, learner.id, version, results, sorted(set(labels)), not known, now
    )
    predictions.add_predictions(session, [prediction])
    pixels = [make_pixels(label, 500 + i) for i, label in enumerate(labels)]
    hashes = blobs.put_many(make_image(label, 500 + i) for i, label in enumerate(labels))
    kept = []
    for i, sha256 in enumerate(hashes):
        vector = np.asarray(features[i], dtype=np.float16).tobytes() if features else None
        look = Look(make_small(pixels[i]), vector, "tests" if vector else None)
        review = NewReview(prediction_id, i, learner.id, version, now, results[i], look)
        kept.append(predictions.NewImage(prediction_id, i, sha256, 32, 32, review))
    assert predictions.add_images(session, kept, blobs) == 0
    return prediction_id


def make_subscription(
    session: Session,
    *events: str,
    target: str = "https://example.org/hook",
    learner: LearnerRow | None = None,
    **rule: Any,
) -> SubscriptionRow:
    """Add a subscription to the database."""
    return subscriptions.add(
        session,
        name="pond",
        learner_id=None if learner is None else learner.id,
        target=target,
        events=events or EVENTS,
        rule=Rule.of(rule),
    )
