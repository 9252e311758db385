"""Tasks: post labelled images, watch, cancel, retry; and the stored images."""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from service.layout.layouts import Layout
from service.remote import replies
from service.remote.calls import (
    Body,
    Call,
    Files,
    Pages,
    as_params,
    given,
    read_bytes,
)
from service.remote.folders import LabelledImage, read_to_learn, tar_of_layout
from service.remote.following import LONG_POLL_S, Following

ARCHIVES = {
    ".zip": "application/zip",
    ".tar": "application/x-tar",
    ".gz": "application/gzip",
    ".tgz": "application/gzip",
    ".xz": "application/x-xz",
    ".txz": "application/x-xz",
    ".bz2": "application/x-bzip2",
    ".tbz2": "application/x-bzip2",
}
"""Archives of labelled folders by the end of their name."""


@dataclass(frozen=True)
class TaskOptions:
    """Options of a task; None leaves the choice to the service."""

    name: str | None = None
    """What to call the task."""
    mode: str | None = None
    """`new_classes`, or `extend` to learn what is new of known classes too."""
    eval_fraction: float | None = None
    """Share of each class kept out to measure accuracy."""
    on_bad_image: str | None = None
    """`refuse` the whole task, or `skip` the image; one under two labels is skipped under both."""
    expected_head_version: int | None = None
    """Refuse the task if the learner has moved on from this version."""
    max_forgetting: float | None = None
    """Hold the version back if accuracy on earlier tasks drops by more than this."""
    screening: str | None = None
    """`hold` a batch that looks poisoned until a person decides, only `warn` of it, or `off`."""
    seed: int | None = None
    """Everything random derives from it."""
    from_feedback: bool | None = None
    """Learn from pending feedback too."""
    splits: bool | None = None
    """False takes folders called `train`, `test` and the like for classes."""
    encoding: str | None = None
    """How names in an archive are written that are not marked as Unicode: `cp437`, `cp932`, `gbk` ..."""
    config: dict[str, Any] | None = None
    """Hyperparameters for this task only; `bottleneck` and `pooling` stay what the learner began with."""

    def given(self) -> dict[str, Any]:
        """Return the options that were set."""
        return given(**vars(self))


def learn_images(
    name: str,
    images: Sequence[LabelledImage],
    options: TaskOptions | None = None,
    *,
    idempotency_key: str | None = None,
) -> Call[replies.Task]:
    """Post labelled images as one task; answers once they are checked and queued."""
    manifest = {
        f"{i:06d}": {"label": image.label, "split": image.split} for i, image in enumerate(images)
    }
    files: list[tuple[str, tuple[str | None, bytes, str]]] = [
        ("images", (f"{i:06d}", image.data, "application/octet-stream"))
        for i, image in enumerate(images)
    ]
    files.append(("manifest", (None, json.dumps(manifest).encode(), "application/json")))
    if options is not None and options.given():
        content = json.dumps(options.given()).encode()
        files.append(("options", (None, content, "application/json")))
    return _post_task(name, idempotency_key, files=files)


def learn_folder(
    name: str,
    folder: Path | str,
    options: TaskOptions | None = None,
    *,
    layout: Layout | None = None,
    manifest: Path | str | None = None,
    idempotency_key: str | None = None,
) -> Call[replies.Task]:
    """Post a folder as one task: one folder a class, or split folders of such, or a table of labels.

    Sent as one tar archive, so its size is bounded by disk, not by memory.

    Args:
        name: Of the learner.
        folder: Where the images are; docs/data.md shows what it may look like.
        options: Of the task.
        layout: What `service.layout.folders.read_folder` made of it, if that was looked at before.
        manifest: A list of files with their labels, which decides alone.
        idempotency_key: Of the request; one is made up otherwise.

    Raises:
        LayoutError: If there is nothing to learn from in it, or it could be read in more than one way.
    """
    use_splits = options is None or options.splits is not False

    def pack() -> AbstractContextManager[IO[bytes]]:
        understood = layout or read_to_learn(
            Path(folder), None if manifest is None else Path(manifest), use_splits=use_splits
        )
        return tar_of_layout(Path(folder), understood)

    return _post_archive(name, pack, ARCHIVES[".tar"], options, idempotency_key)


def learn_archive(
    name: str,
    archive: Path | str,
    options: TaskOptions | None = None,
    *,
    idempotency_key: str | None = None,
) -> Call[replies.Task]:
    """Post such a folder that is packed already: as zip, or as tar, plain or with gzip, xz or bzip2.

    Raises:
        ValueError: If its name ends otherwise.
    """
    file = Path(archive)
    return _post_archive(
        name, lambda: file.open("rb"), media_type_of(file), options, idempotency_key
    )


def media_type_of(archive: Path) -> str:
    """Return the media type of an archive by its name.

    Raises:
        ValueError: If it ends otherwise.
    """
    media_type = ARCHIVES.get(archive.suffix.lower())
    if media_type is None:
        raise ValueError(f"{archive.name}: the name of an archive ends in {', '.join(ARCHIVES)}.")
    return media_type


def learn_feedback(
    name: str,
    options: TaskOptions | None = None,
    *,
    idempotency_key: str | None = None,
) -> Call[replies.Task]:
    """Learn from pending feedback alone: of unknown classes, or of all with the mode `extend`."""
    options = replace(options or TaskOptions(), from_feedback=True)
    return learn_images(name, [], options, idempotency_key=idempotency_key)


def task(task_id: str, *, wait_s: float | None = None) -> Call[replies.Task]:
    """Read a task, at the latest after `wait_s` seconds if it has not ended before."""
    return Call(
        "GET",
        "/v1/tasks/{task_id}",
        {"task_id": task_id},
        params=given(wait=wait_s),
        silence_s=None if wait_s is None else wait_s + LONG_POLL_S,
    )


def tasks(
    learner: str | None = None,
    *,
    status: Sequence[str] = (),
    mode: str | None = None,
    limit: int | None = None,
) -> Pages[replies.Task]:
    """List tasks, newest first; of one learner, or of all. Consolidations are there with `mode="consolidate"`."""
    params = given(status=list(status) or None, mode=mode)
    if learner is None:
        return Pages("/v1/tasks", params=params, limit=limit)
    return Pages("/v1/learners/{name}/tasks", {"name": learner}, params, limit)


def cancel_task(task_id: str) -> Call[replies.Task]:
    """Ask for a task to be stopped."""
    return Call("POST", "/v1/tasks/{task_id}/cancel", {"task_id": task_id})


def retry_task(task_id: str) -> Call[replies.Task]:
    """Queue a failed or cancelled task again."""
    return Call("POST", "/v1/tasks/{task_id}/retry", {"task_id": task_id})


def publish_task(task_id: str) -> Call[replies.Task]:
    """Publish a held task after all."""
    return Call("POST", "/v1/tasks/{task_id}/publish", {"task_id": task_id})


def unlearn(
    name: str,
    *,
    tasks: Sequence[int] = (),
    classes: Sequence[str] = (),
    title: str | None = None,
    expected_head_version: int | None = None,
    max_forgetting: float | None = None,
    idempotency_key: str | None = None,
) -> Call[replies.Task]:
    """Take tasks and classes out of what a learner knows; returns once that is queued.

    Args:
        name: Of the learner.
        tasks: Indexes of tasks, all of whose images go.
        classes: Labels, whatever task brought them.
        title: What to call the task.
        expected_head_version: Refuse if the learner has moved on from this version.
        max_forgetting: Hold the version back if accuracy on what stays drops by more than this.
        idempotency_key: Of the request; one is made up otherwise.
    """
    options = given(
        name=title, expected_head_version=expected_head_version, max_forgetting=max_forgetting
    )
    return Call(
        "POST",
        "/v1/learners/{name}/unlearn",
        {"name": name},
        headers=given(**{"Idempotency-Key": idempotency_key}),
        json={"tasks": list(tasks), "classes": list(classes), **options},
        creates=True,
    )


def correct(
    name: str,
    changes: Mapping[str, str | None],
    *,
    title: str | None = None,
    expected_head_version: int | None = None,
    idempotency_key: str | None = None,
) -> Call[replies.Task]:
    """Say what learned images really show; returns once the correction is queued, mostly seconds before it is live.

    Args:
        name: Of the learner.
        changes: Images by their id, as `class_samples` lists them, and the class that each shows; None takes it out.
        title: What to call the task.
        expected_head_version: Refuse if the learner has moved on from this version.
        idempotency_key: Of the request; one is made up otherwise.
    """
    asked = [{"sample": sample, "to": to} for sample, to in changes.items()]
    body = {"changes": asked, **given(name=title, expected_head_version=expected_head_version)}
    return _post_correction(name, body, idempotency_key)


def undo_correction(
    name: str,
    task_id: str,
    *,
    title: str | None = None,
    idempotency_key: str | None = None,
) -> Call[replies.Task]:
    """Take a correction back, but for images that were changed again since; returns once that is queued.

    Args:
        name: Of the learner.
        task_id: Of the correction.
        title: What to call the task.
        idempotency_key: Of the request; one is made up otherwise.
    """
    return _post_correction(name, {"undo": task_id, **given(name=title)}, idempotency_key)


def class_samples(
    name: str,
    label: str | None = None,
    *,
    split: str | None = None,
    removed: bool | None = None,
    limit: int | None = None,
) -> Pages[replies.Sample]:
    """List the images that a learner has learned or is measured with, of one class if it is given.

    Args:
        name: Of the learner.
        label: Of the class, or its name.
        split: `train` or `eval`.
        removed: Those that corrections took out, instead of the others.
        limit: Most to list.
    """
    params = given(label=label, split=split, removed=removed)
    return Pages("/v1/learners/{name}/samples", {"name": name}, params, limit)


def _post_correction(
    name: str, body: dict[str, Any], idempotency_key: str | None
) -> Call[replies.Task]:
    return Call(
        "POST",
        "/v1/learners/{name}/corrections",
        {"name": name},
        headers=given(**{"Idempotency-Key": idempotency_key}),
        json=body,
        creates=True,
    )


def consolidate(
    name: str, *, title: str | None = None, idempotency_key: str | None = None
) -> Call[replies.Task]:
    """Consolidate what a learner has learned, now rather than when it is quiet; returns once that is queued.

    Args:
        name: Of the learner.
        title: What to call it.
        idempotency_key: Of the request; one is made up otherwise.
    """
    return Call(
        "POST",
        "/v1/learners/{name}/consolidations",
        {"name": name},
        headers=given(**{"Idempotency-Key": idempotency_key}),
        json=given(name=title),
        creates=True,
    )


def consolidations(
    name: str, *, status: Sequence[str] = (), limit: int | None = None
) -> Pages[replies.Task]:
    """List a learner's consolidations, newest first."""
    params = {"status": list(status)} if status else {}
    return Pages("/v1/learners/{name}/consolidations", {"name": name}, params, limit)


def preview_unlearning(
    name: str,
    *,
    tasks: Sequence[int] = (),
    classes: Sequence[str] = (),
    title: str | None = None,
    expected_head_version: int | None = None,
    max_forgetting: float | None = None,
) -> Call[replies.UnlearnPreview]:
    """Read what `unlearn` with these arguments would take away for good. Nothing is done."""
    options = given(
        name=title, expected_head_version=expected_head_version, max_forgetting=max_forgetting
    )
    return Call(
        "POST",
        "/v1/learners/{name}/unlearn/preview",
        {"name": name},
        json={"tasks": list(tasks), "classes": list(classes), **options},
        is_harmless=True,
    )


def past_events(task_id: str, *, limit: int | None = None) -> Pages[replies.TaskEvent]:
    """List what has happened to a task so far, oldest first."""
    return Pages("/v1/tasks/{task_id}/events", {"task_id": task_id}, limit=limit)


def samples(
    task_id: str, *, split: str | None = None, label: str | None = None, limit: int | None = None
) -> Pages[replies.Sample]:
    """List a task's stored images in the order they were sent."""
    params = given(split=split, label=label)
    return Pages("/v1/tasks/{task_id}/samples", {"task_id": task_id}, params, limit)


def drop_samples(task_id: str) -> Call[replies.SamplesDropped]:
    """Delete a task's images; learning and predicting go on unharmed."""
    return Call("DELETE", "/v1/tasks/{task_id}/samples", {"task_id": task_id})


def sample_image(sample_id: str) -> Call[bytes]:
    """Read a stored image as it is learned from, as PNG."""
    return Call(
        "GET",
        "/v1/samples/{sample_id}/image",
        {"sample_id": sample_id},
        headers={"Accept": "image/png"},
        read=read_bytes,
    )


def follow_task(
    task_id: str,
    on_progress: Callable[[replies.Task], None] | None = None,
    *,
    timeout_s: float | None = None,
    poll_s: float = 0.4,
) -> Following[replies.Task]:
    """Wait until a task has ended, reporting it on the way."""

    def read(wait_s: float | None) -> Call[replies.Task]:
        return task(task_id, wait_s=wait_s)

    return Following(task_id, read, on_progress, timeout_s, poll_s)


def _post_archive(
    name: str,
    body: Body,
    media_type: str,
    options: TaskOptions | None,
    idempotency_key: str | None,
) -> Call[replies.Task]:
    return _post_task(
        name,
        idempotency_key,
        body=body,
        media_type=media_type,
        params=as_params(options.given() if options else {}),
    )


def _post_task(
    name: str,
    idempotency_key: str | None,
    *,
    files: Files | None = None,
    body: Body | None = None,
    media_type: str | None = None,
    params: dict[str, Any] | None = None,
) -> Call[replies.Task]:
    headers = given(**{"Idempotency-Key": idempotency_key, "Content-Type": media_type})
    return Call(
        "POST",
        "/v1/learners/{name}/tasks",
        {"name": name},
        params=params or {},
        headers=headers,
        files=files,
        body=body,
        creates=True,
    )
