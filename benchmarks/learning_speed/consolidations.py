"""What a consolidation takes, beside what a user would write; and how soon it makes way for a task."""

import json
import subprocess
import sys
from collections.abc import Sequence

from benchmarks.bad_input.service import Service
from benchmarks.learning_speed.given import JSON, Given
from benchmarks.learning_speed.pictures import Taught
from benchmarks.learning_speed.teaching import CONSOLIDATES, Teacher
from benchmarks.waiting import wait_until
from registry.statuses import ENDED


def consolidation(service: Service, given: Given) -> JSON:
    """Consolidate many images, beside the plain loop on the same; and teach a class while one is under way.

    Where a task trains by itself, as before there were consolidations, its training is what is compared.
    """
    n, images = given.many
    teacher = Teacher(service.client)
    classes = given.classes(n, images, asked=20)
    others = given.classes(n + 2, 30)[-2:]
    rows = []
    for i in range(given.batch_repeats):
        learner = f"rested-{i}"
        teacher.create(learner, given.backbone, adapt=given.adapt)
        learned = teacher.teach(learner, classes)
        row: JSON = {"learned_s": learned.answered_s, "phases": learned.phases}
        row["accuracy_learned"] = round(teacher.accuracy(learner, classes), 4)
        if CONSOLIDATES:
            row |= _consolidated(teacher, learner, classes)
        row["plain"] = _plain(given)
        ours = row.get("consolidation_s", learned.phases.get("training", 0.0))
        row["times_faster"] = round(row["plain"]["all_s"] / ours, 2) if ours else None
        rows.append(row)
    found: JSON = {"classes": n, "images": images, "rows": rows}
    if CONSOLIDATES:
        found["put_down"] = _put_down(teacher, given, classes, others)
    return found


def _consolidated(teacher: Teacher, learner: str, classes: Sequence[Taught]) -> JSON:
    task = teacher.consolidate(learner)
    return {
        "status": task["status"],
        "consolidation_s": round(teacher.seconds(task, "started_at"), 2),
        "phases_consolidation": teacher.phases(learner, task["version"]),
        "result": task.get("result"),
        "accuracy_consolidated": round(teacher.accuracy(learner, classes), 4),
    }


def _put_down(
    teacher: Teacher, given: Given, classes: Sequence[Taught], others: Sequence[Taught]
) -> JSON:
    """Teach new classes a moment after a consolidation of the same learner has begun to train."""
    teacher.create("interrupted", given.backbone, adapt=given.adapt)
    teacher.teach("interrupted", classes)
    task_id = teacher.start_consolidating("interrupted")
    wait_until(
        lambda: (
            (task := teacher.task(task_id))["status"] in ENDED
            or task["progress"]["phase"] == "training"
        ),
        look_s=0.05,
    )
    was_running = teacher.task(task_id)["status"] not in ENDED
    answered = teacher.teach("interrupted", others)
    ended = teacher.ended(task_id)
    return {
        "was_running": was_running,
        "answered_s": answered.answered_s,
        "status": ended["status"],
        "consolidation_s": round(teacher.seconds(ended, "started_at"), 2),
    }


def _plain(given: Given) -> JSON:
    n, images = given.many
    command = [
        sys.executable,
        "-m",
        "benchmarks.learning_speed.plain",
        "--backbone",
        given.backbone,
    ]
    command += ["--classes", str(n), "--images", str(images), "--epochs", str(given.epochs)]
    for name, path in (("--weights", given.weights), ("--cifar100", given.cifar100)):
        command += [] if path is None else [name, str(path)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: JSON = json.loads(done.stdout.splitlines()[-1])
    return found
