"""What the command line says of a problem: a sentence, what it is about, and the command that helps.

The service speaks to programs: its sentences name fields, headers and paths. Here such a sentence is replaced by one
for somebody at a terminal, code by code; every other is passed on as it came, with its numbers.
"""

import re
from typing import Any

from service.client import ProblemError
from service.wording import speaks_api

SHOWN = 20
"""Most faults of one request that are named."""
SENTENCES = {
    "archive-rejected": (
        "The archive, or a name in it, cannot be read: pack it anew, or say with --encoding how its names are written."
    ),
    "bad-host": "The service does not answer to the name in this address.",
    "body-too-large": "This is more than the service takes at once.",
    "cannot-unlearn": "This learner's strategy cannot take out a part of what it has learned.",
    "client-closed": "The connection ended before everything was sent: try again.",
    "digest-mismatch": "Something was damaged on its way to the service: try again.",
    "feedback-changed": "Feedback was changed or taken meanwhile: try again.",
    "headers-too-large": "The key or the address is too long.",
    "idempotency-in-progress": "The same was asked for before and is still being done: try again in a moment.",
    "idempotency-key-reused": "Something else was asked for under the same name before.",
    "image-too-large": "The file has more bytes than the service takes: make the image smaller.",
    "image-too-many-pixels": "The image has more pixels than the service takes: make it smaller.",
    "images-rejected": "Some of the images cannot be used, so nothing is learned.",
    "internal": "Something is wrong with the service itself; its log says what.",
    "invalid-config": "The configuration cannot be used.",
    "invalid-cursor": "The list cannot be continued: ask for it again.",
    "label-conflict": "The same image comes under different labels.",
    "label-known": "Some of these classes are known to the learner already.",
    "learner-not-found": "There is no learner of this name.",
    "malformed-json": "The service could not read what was sent.",
    "malformed-multipart": "The service could not read what was sent.",
    "malformed-request": "The service could not read what was sent.",
    "method-not-allowed": "What answered does not know this command: look whether that is the address of Filopodia.",
    "missing-image": "There is no image that can be used.",
    "no-feedback": "No feedback is pending that can be learned so.",
    "nothing-learned": "The learner has learned nothing yet.",
    "part-too-large": "A label or an option is too long.",
    "precondition-failed": "Somebody else has changed this meanwhile: look again.",
    "quota-exceeded": "This would go beyond what the key or the installation may have.",
    "rate-limited": "That was too much in too short a time.",
    "request-timeout": "What was sent did not arrive in time: try again.",
    "storage-unavailable": "The service's database or files are out of reach right now: try again in a moment.",
    "too-few-images": "Some of the classes have too few images.",
    "too-many-pixels": "Decoding the image is more work than the service takes at once: send a smaller one, or a JPEG.",
    "too-many-images": "These are more images than the service takes at once: send them in parts.",
    "too-many-parts": "These are more files than the service takes at once: send them in parts.",
    "unauthorized": "The service does not accept this key.",
    "unknown-backbone": "There is no backbone of that name.",
    "unknown-content": "The learner does not know all of these tasks and classes.",
    "unknown-strategy": "There is no strategy of that name.",
    "unsupported-content-encoding": "The service could not read what was sent.",
    "unsupported-media-type": "The service does not take files of this kind.",
    "validation": "Something in this command is missing, unknown or out of range.",
    "version-not-served": "The version is not served yet: try again in a moment.",
}
"""Said in place of the service's sentence where that names what only programs have."""
UNKNOWN = "The service refused this."
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
    "nothing-to-predict": "`filopodia predictions NAME` lists what is kept; --samples takes images of tasks.",
    "prediction-job-ended": "`filopodia job JOB` says how it ended.",
    "prediction-job-not-found": "`filopodia jobs NAME` shows the ids.",
    "prediction-not-found": "`filopodia predictions NAME` lists what is kept.",
    "task-ended": "`filopodia task TASK` says how it ended.",
    "task-not-found": "`filopodia tasks` shows the ids.",
    "task-not-held": "`filopodia task TASK` says what became of it.",
    "task-not-retryable": "`filopodia task TASK` says what became of it.",
    "unauthorized": "Name a key with --key or FILOPODIA_KEY.",
    "unknown-content": "`filopodia classes NAME` lists what it knows.",
    "unknown-strategy": "`filopodia strategies` lists what there is.",
    "version-erased": "`filopodia versions NAME` lists what there is.",
    "version-not-found": "`filopodia versions NAME` lists what there is.",
}
"""The command that helps."""
_QUOTING = frozenset({"invalid-config", "label-confusable", "label-invalid"})
"""Codes whose sentences hold names of the sender's own: they are passed on whatever they look like."""
_PLACES = {
    "backbone": "--backbone",
    "classes": "--class",
    "config": "--config",
    "expires_at": "--expires-in",
    "job_id": "JOB",
    "key_id": "ID",
    "label": "CLASS",
    "learners": "--learner",
    "limit": "--limit",
    "max_forgetting": "--max-forgetting",
    "name": "NAME",
    "prediction_id": "PREDICTION",
    "quotas": "--quota",
    "screening": "--screening",
    "strategy": "--strategy",
    "task_id": "TASK",
    "tasks": "--task",
    "version": "VERSION",
}
"""What a field of a request is called on the command line."""
_ABOUT_FIELDS = {
    "This field is missing.": "It is missing.",
    "This field is not known.": "It is not known.",
    "This must be a JSON object.": "This must be an object in braces.",
}


def explain(problem: ProblemError) -> list[str]:
    """Return what to print of a problem, line by line."""
    lines = [f"{sentence(problem.code, problem.detail)} ({problem.code})"]
    lines += [f"  {fault(error, problem.code)}" for error in problem.errors[:SHOWN]]
    if len(problem.errors) > SHOWN:
        lines.append(f"  ... and {len(problem.errors) - SHOWN} more")
    hint = _hint(problem)
    return [*lines, hint] if hint else lines


def sentence(code: str, detail: str) -> str:
    """Return what to say of a problem here: the service's sentence, unless that speaks to programs.

    Example:
        >>> sentence("images-rejected", "See `errors`; `on_bad_image=skip` learns from the others.")
        'Some of the images cannot be used, so nothing is learned.'
        >>> sentence("too-few-images", "2 of the classes have too few images: each needs at least 2.")
        '2 of the classes have too few images: each needs at least 2.'
    """
    if code in _QUOTING:
        return detail.replace("`", "")
    return SENTENCES.get(code, UNKNOWN) if speaks_api(detail) else detail


def fault(error: dict[str, Any], code: str = "validation") -> str:
    """Return one entry of `errors`: the file or label it is about, else what of the command it is.

    Args:
        error: The entry.
        code: Of the problem.

    Example:
        >>> fault({"pointer": "/images/0", "detail": "It is empty.", "filename": "heron/a.jpg"})
        'heron/a.jpg: It is empty.'
        >>> fault({"pointer": "/body/name", "detail": "This field is missing."})
        'NAME: It is missing.'
    """
    detail = str(error.get("detail", ""))
    detail = _ABOUT_FIELDS.get(detail) or sentence(str(error.get("code") or _own(code)), detail)
    file, label = error.get("filename"), error.get("label")
    if "prediction" in error:
        file = f"{error['prediction']} --index {error.get('index', 0)}"
    if file and label:
        other = f" ({error['other_filename']})" if error.get("other_filename") else ""
        return f"{file}: {detail.removesuffix('.')}: {label}{other}."
    place = file or label or _place(str(error.get("pointer") or ""))
    return f"{place}: {detail}" if place else detail


def _own(code: str) -> str:
    """Return under which code to look up the sentence of an entry that has none: never the sentence of the whole."""
    return code if code in _QUOTING else ""


def _place(pointer: str) -> str:
    """Return what a JSON pointer points to, in words of the command line.

    Example:
        >>> _place("/images/3"), _place("/body/config/epochs"), _place("/path/key_id"), _place("/body/shoe_size")
        ('image 4', '--config epochs', 'ID', 'shoe size')
    """
    parts = [part for part in pointer.split("/") if part]
    while parts and parts[0] in ("body", "query", "path", "header", "options"):
        parts = parts[1:]
    if not parts:
        return ""
    if parts[0] in ("images", "samples") and re.fullmatch(r"[0-9]{1,9}", "".join(parts[1:2])):
        return f"image {int(parts[1]) + 1}"
    word = _PLACES.get(parts[0], parts[0].replace("_", " "))
    return " ".join([word, *parts[1:2]]) if parts[0] == "config" else word


def _hint(problem: ProblemError) -> str | None:
    if problem.code == "rate-limited" and problem.retry_after_s is not None:
        return f"Try again in {problem.retry_after_s:.0f} s."
    if problem.code == "label-known" and not problem.errors:
        return None  # the name of a class is taken: nothing is to be learned
    return HINTS.get(problem.code)
