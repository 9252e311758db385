"""The sentences that say how consolidations stand."""

import pytest

from registry.obstacles import Obstacle
from registry.schedule import Schedule
from registry.statuses import TaskStatus
from registry.tables import TaskRow
from service.use_cases.consolidation_words import learner_standing, standing_of

IDLE = Schedule.parse("idle", 10)
RESULT = {"reason": "It does not help enough.", "details": {"gain": -0.02, "standard_error": 0.03}}


def row(status, **fields):
    return TaskRow(
        status=TaskStatus(status), options={"tasks": [1], **fields.pop("options", {})}, **fields
    )


@pytest.mark.parametrize(
    ("obstacle", "said"),
    [
        (Obstacle("worker"), "waits for a free worker"),
        (Obstacle("task"), "waits, since a task of this learner goes first"),
        (Obstacle("decision"), "waits until a held task of this learner is published or cancelled"),
        (Obstacle("quiet", 7.6), "waits for quiet: begins in 8 s, if no task comes"),
        (Obstacle("hours"), "waits for its hours, 22:00 to 06:30 UTC"),
        (Obstacle("retry", 5.0), "tries again in 5 s: The worker disappeared"),
    ],
)
def test_one_that_waits_says_for_what(obstacle, said):
    error = {"code": "worker-lost", "detail": "The worker disappeared."}
    task = row("queued", options={"hours": [22 * 60, 6 * 60 + 30]}, error=error)
    assert standing_of(task, obstacle) == said


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (row("running", progress={"fraction": 0.4, "phase": "training"}), "40%, training"),
        (
            row("declined", result=RESULT),
            "declined: it does not help enough (gain -0.020 \u00b1 0.030)",
        ),
        (row("declined", result={"reason": "Nothing waits."}), "declined: nothing waits"),
        (
            row("succeeded", version=3, result={"details": {"gain": 0.1}}),
            "done, version 3 (gain +0.100)",
        ),
        (row("failed", error={"code": "x", "detail": "Too long."}), "failed: Too long"),
        (
            row("superseded", version=3),
            "was done, but the learner was moved back to before version 3",
        ),
        (row("cancelled"), "cancelled"),
    ],
)
def test_one_that_runs_or_has_ended_says_how(task, said):
    assert standing_of(task, None) == said


@pytest.mark.parametrize(
    ("waiting", "with_images", "last", "schedule", "said"),
    [
        ([], [], None, IDLE, "Nothing waits to be consolidated."),
        (
            [1],
            [],
            None,
            IDLE,
            "Task 1 answers already. Its images are not stored here, so they will not shape the features.",
        ),
        (
            [1],
            [1],
            None,
            Schedule.parse("never"),
            "Task 1 answers already. Nothing is consolidated in this installation.",
        ),
        (
            [1, 2, 3, 4, 5, 6],
            [1],
            row("cancelled"),
            IDLE,
            "6 tasks answer already. Their images will shape the features when you ask for a consolidation.",
        ),
        (
            [1],
            [1],
            row("failed", error={"code": "x", "detail": "Too long."}),
            IDLE,
            "Task 1 answers already. Consolidation failed: Too long. What waits is tried again after the next task, or "
            "when you ask.",
        ),
    ],
)
def test_a_learner_says_what_waits_and_why(waiting, with_images, last, schedule, said):
    assert learner_standing(waiting, with_images, last, None, schedule) == said
