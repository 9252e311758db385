"""How soon classes are answered: few, many, and after many tasks."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict

import torch

from benchmarks.bad_input.service import Service
from benchmarks.learning_speed.given import JSON, Given, taught_in_turn
from benchmarks.learning_speed.plain import tensors
from benchmarks.learning_speed.teaching import Teacher
from benchmarks.load.sampling import look
from models.backbone import load_backbone

EARLY = 5
"""The task that late ones are compared with; the two on either side of it count as well."""


def first_answers(service: Service, given: Given) -> JSON:
    """Teach one learner a few new classes again and again; the first time is told apart, as all is cold then."""
    n, images = given.few
    taught = taught_in_turn(service, given, given.repeats + 1, n, images)
    rows = [asdict(one) for one in taught]
    seconds = sorted(one.answered_s for one in taught[1:])
    return {
        "classes": n,
        "images": images,
        "first_s": taught[0].answered_s,
        "p50_s": round(statistics.median(seconds), 3),
        "p95_s": _percentile(seconds, 0.95),
        "published_p50_s": round(statistics.median(one.published_s for one in taught[1:]), 2),
        "right": sum(one.is_right for one in taught),
        "rows": rows,
    }


def batches(service: Service, given: Given) -> JSON:
    """Teach many images at once, a new learner each time, in turns with one embedding pass of the same images."""
    n, images = given.many
    teacher = Teacher(service.client)
    classes = given.classes(n, images)
    backbone = load_backbone(given.backbone, weights=given.weights)
    pixels, _ = tensors(backbone, classes)
    backbone.embed(pixels[:64])
    rows = []
    for i in range(given.batch_repeats):
        learner = f"batch-{i}"
        teacher.create(learner, given.backbone)
        answered = teacher.teach(learner, classes)
        started = time.perf_counter()
        backbone.embed(pixels)
        # The pass is of the training images; the service embeds the held-out ones too.
        pass_s = (time.perf_counter() - started) * n * images / len(pixels)
        rows.append({**asdict(answered), "pass_s": round(pass_s, 3)})
    answered_s = statistics.median(row["answered_s"] for row in rows)
    pass_s = statistics.median(row["pass_s"] for row in rows)
    return {
        "classes": n,
        "images": images,
        "answered_s": round(answered_s, 2),
        "pass_s": round(pass_s, 3),
        "passes": round(answered_s / pass_s, 2),
        "threads": torch.get_num_threads(),
        "rows": rows,
    }


def growth(service: Service, given: Given) -> JSON:
    """Teach one learner task after task of the same size, and look at the service's memory after each."""
    memory: list[float] = []
    pid = service.process.pid
    taught = taught_in_turn(
        service, given, given.tasks, 2, 10, lambda: memory.append(look(pid).rss_mib)
    )
    seconds = [one.answered_s for one in taught]
    early = statistics.median(seconds[EARLY - 3 : EARLY + 2])
    late = statistics.median(seconds[-5:])
    since = min(EARLY, given.tasks - 1)
    grown = (memory[-1] - memory[since - 1]) / (given.tasks - since)
    return {
        "tasks": given.tasks,
        "early_s": round(early, 2),
        "late_s": round(late, 2),
        "ratio": round(late / early, 2),
        "mib_a_task": round(grown, 2),
        "answered_s": seconds,
        "rss_mib": [round(mib, 1) for mib in memory],
        "phases": [one.phases for one in taught],
    }


def _percentile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))]
