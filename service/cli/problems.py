"""What the command line says of a problem: the service's sentence, what it is about, and the command that helps."""

from typing import Any

from service.client import ProblemError

SHOWN = 20
"""Most faults of one request that are named."""
HINTS = {
    "class-not-found": "`filopodia classes NAME` lists what it knows.",
    "feedback-not-found": "`filopodia feedback --pending` lists what waits.",
    "images-rejected": "--skip-bad leaves them out and learns from the others.",
    "key-not-found": "`filopodia keys list` shows the ids.",
    "label-conflict": "--skip-bad leaves these images out and learns from the others.",
    "label-known": "--extend learns what is new of known classes.",
    "learner-not-found": (
        "`filopodia learners` lists what there is; `filopodia learn NAME FOLDER --create` makes one."
    ),
    "no-feedback": "--extend takes feedback on known classes too.",
    "nothing-learned": "`filopodia learn NAME FOLDER` teaches it.",
    "prediction-not-found": "`filopodia predictions NAME` lists what is kept.",
    "task-ended": "`filopodia task TASK` says how it ended.",
    "task-not-found": "`filopodia tasks` shows the ids.",
    "task-not-held": "`filopodia task TASK` says what became of it.",
    "task-not-retryable": "`filopodia task TASK` says what became of it.",
    "unauthorized": "Name a key with --key or FILOPODIA_KEY.",
    "unknown-strategy": "`filopodia strategies` lists what there is.",
    "version-not-found": "`filopodia versions NAME` lists what there is.",
}
"""The word of the command line for what the service's sentence says in the words of the API."""


def explain(problem: ProblemError) -> list[str]:
    """Return what to print of a problem, line by line."""
    lines = [f"{problem.detail} ({problem.code})"]
    lines += [f"  {fault(error)}" for error in problem.errors[:SHOWN]]
    if len(problem.errors) > SHOWN:
        lines.append(f"  ... and {len(problem.errors) - SHOWN} more")
    hint = _hint(problem)
    return [*lines, hint] if hint else lines


def fault(error: dict[str, Any]) -> str:
    """Return one entry of `errors`: the file or label it is about, else where it is in the request.

    Example:
        >>> fault({"pointer": "/images/0", "detail": "It is empty.", "filename": "heron/a.jpg"})
        'heron/a.jpg: It is empty.'
        >>> fault({"pointer": "/body/name", "detail": "This field is missing."})
        '/body/name: This field is missing.'
    """
    detail = str(error.get("detail", ""))
    file, label = error.get("filename"), error.get("label")
    if "prediction" in error:
        file = f"{error['prediction']} --index {error.get('index', 0)}"
    if file and label:
        other = f" ({error['other_filename']})" if error.get("other_filename") else ""
        return f"{file}: {detail.removesuffix('.')}: {label}{other}."
    place = file or label or error.get("pointer")
    return f"{place}: {detail}" if place else detail


def _hint(problem: ProblemError) -> str | None:
    if problem.code == "rate-limited" and problem.retry_after_s is not None:
        return f"Try again in {problem.retry_after_s:.0f} s."
    if problem.code == "label-known" and not problem.errors:
        return None  # the name of a class is taken: nothing is to be learned
    return HINTS.get(problem.code)
