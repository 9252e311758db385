"""How consolidations stand, in plain words: the same sentences for the API, the command line and the dashboard."""

from collections.abc import Sequence

from registry.obstacles import Obstacle
from registry.schedule import Schedule
from registry.statuses import UNFINISHED, TaskStatus
from registry.tables import TaskRow

AGAIN = "What waits is tried again after the next task, or when you ask."


def standing_of(task: TaskRow, obstacle: Obstacle | None) -> str:
    """Return how one consolidation stands, to be read after its name.

    Args:
        task: Its row.
        obstacle: What it waits for, if it is queued.
    """
    if task.status == TaskStatus.QUEUED:
        return _waiting(task, obstacle or Obstacle("worker"))
    if task.status == TaskStatus.RUNNING:
        return _running(task)
    if task.status == TaskStatus.SUCCEEDED:
        return f"done, version {task.version}{_numbers(task)}"
    if task.status == TaskStatus.SUPERSEDED:
        return f"was done, but the learner was moved back to before version {task.version}"
    if task.status == TaskStatus.DECLINED:
        reason = str((task.result or {}).get("reason", "")).rstrip(".")
        return f"declined: {reason[:1].lower()}{reason[1:]}{_numbers(task)}"
    if task.status == TaskStatus.FAILED:
        return f"failed: {_detail(task)}"
    return str(task.status)


def learner_standing(
    waiting: Sequence[int],
    with_images: Sequence[int],
    last: TaskRow | None,
    obstacle: Obstacle | None,
    schedule: Schedule,
) -> str:
    """Return how a learner stands, in sentences.

    Args:
        waiting: Indexes of its tasks that wait for a consolidation.
        with_images: Those of them whose images are still there.
        last: Its consolidation that waits or runs, or else the last one; None if there was none.
        obstacle: What that waits for, if it is queued.
        schedule: Of the installation.
    """
    if not waiting:
        return "Nothing waits to be consolidated."
    answers = f"{_named(waiting)} already."
    its = "Its" if len(waiting) == 1 else "Their"
    if not with_images:
        # They were deleted, or never came along with an imported learner.
        return f"{answers} {its} images are not stored here, so they will not shape the features."
    shape = f"{its} images will shape the features"
    if last is not None and last.status in UNFINISHED:
        if obstacle is not None and obstacle.what == "quiet" and not last.options.get("by_hand"):
            quiet = f"{shape} when it has been quiet for {schedule.idle_s:g} s"
            return f"{answers} {quiet}: in {obstacle.seconds or 0:.0f} s, if no task comes."
        return f"{answers} Consolidation: {standing_of(last, obstacle)}."
    if schedule.when == "never":
        return f"{answers} Nothing is consolidated in this installation."
    tried = (
        last is not None and last.options.get("tasks") and max(last.options["tasks"]) == waiting[-1]
    )
    if last is not None and tried and last.status in (TaskStatus.DECLINED, TaskStatus.FAILED):
        return f"{answers} Consolidation {standing_of(last, obstacle)}. {AGAIN}"
    return f"{answers} {shape} when you ask for a consolidation."


def _waiting(task: TaskRow, obstacle: Obstacle) -> str:
    if obstacle.what == "task":
        return "waits, since a task of this learner goes first"
    if obstacle.what == "decision":
        return "waits until a held task of this learner is published or cancelled"
    if obstacle.what == "hours":
        start, end = (f"{minutes // 60:02}:{minutes % 60:02}" for minutes in task.options["hours"])
        return f"waits for its hours, {start} to {end} UTC"
    if obstacle.what == "quiet":
        return f"waits for quiet: begins in {obstacle.seconds or 0:.0f} s, if no task comes"
    if obstacle.what == "retry":
        return f"tries again in {obstacle.seconds or 0:.0f} s: {_detail(task)}"
    return "waits for a free worker"


def _detail(task: TaskRow) -> str:
    return str((task.error or {}).get("detail", "")).rstrip(".")


def _running(task: TaskRow) -> str:
    progress = task.progress
    left_s = progress.get("eta_seconds")
    left = "" if left_s is None else f", {left_s:.0f} s left"
    return f"{progress.get('fraction', 0.0):.0%}, {progress.get('phase', 'preparing')}{left}"


def _numbers(task: TaskRow) -> str:
    """Return by how much images that were kept apart are answered better, if that was measured."""
    details = (task.result or {}).get("details") or {}
    gain, error = details.get("gain"), details.get("standard_error")
    if not isinstance(gain, int | float):
        return ""
    uncertain = f" \u00b1 {error:.3f}" if isinstance(error, int | float) else ""
    return f" (gain {gain:+.3f}{uncertain})"


def _named(indexes: Sequence[int]) -> str:
    *others, last = (str(index) for index in indexes)
    if not others:
        return f"Task {last} answers"
    if len(others) > 4:
        return f"{len(indexes)} tasks answer"
    return f"Tasks {', '.join(others)} and {last} answer"
