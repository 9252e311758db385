"""A typed client of the public HTTP API, over httpx: synchronous, and retrying is safe."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast

from service.client import replies
from service.client.folders import LabelledImage, tar_of_folder
from service.client.transport import Transport, UnreachableError

PATIENCE_S = 60.0
"""How long a service that does not answer is waited for while a task is followed: time enough for a restart."""
ENDED = frozenset({"succeeded", "failed", "cancelled", "held"})
"""Task statuses that no worker will change any more."""


@dataclass(frozen=True)
class TaskOptions:
    """Options of a task; None leaves the choice to the service."""

    name: str | None = None
    mode: str | None = None
    eval_fraction: float | None = None
    on_bad_image: str | None = None
    expected_head_version: int | None = None
    max_forgetting: float | None = None
    config: dict[str, Any] | None = None

    def given(self) -> dict[str, Any]:
        """Return the options that were set."""
        return {key: value for key, value in vars(self).items() if value is not None}


class FilopodiaClient:
    """Talks to one service with one key.

    Every method raises `ProblemError` if the service says no, and `UnreachableError` if it does not answer (both in
    `service.client.transport`).

    Args:
        url: Where the service is, such as `http://127.0.0.1:8000`.
        key: An API key, `fil_...`.
        timeout_s: Longest silence of the service that is waited for; long polls get their own.
    """

    def __init__(self, url: str, key: str, *, timeout_s: float = 120.0) -> None:
        self._http = Transport(url, key, timeout_s=timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def create_learner(
        self,
        name: str,
        *,
        strategy: str | None = None,
        backbone: str | None = None,
        config: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> replies.Learner:
        """Create a learner; None leaves the choice to the service."""
        chosen = {
            "strategy": strategy,
            "backbone": backbone,
            "config": config,
            "metadata": metadata,
        }
        body = {"name": name} | {key: value for key, value in chosen.items() if value is not None}
        return cast("replies.Learner", self._http.post("/v1/learners", json=body))

    def learner(self, name: str) -> replies.Learner:
        """Return one learner."""
        return cast("replies.Learner", self._http.get(f"/v1/learners/{name}"))

    def learners(self) -> list[replies.Learner]:
        """Return all learners."""
        return list(self._http.pages("/v1/learners"))

    def strategies(self) -> list[replies.Strategy]:
        """Return what a learner can be created with."""
        return list(self._http.pages("/v1/strategies"))

    def accuracy(self, name: str) -> replies.AccuracyHistory:
        """Return how well every task was known after every task."""
        return cast("replies.AccuracyHistory", self._http.get(f"/v1/learners/{name}/accuracy"))

    def versions(self, name: str) -> list[replies.Version]:
        """Return a learner's versions."""
        return list(self._http.pages(f"/v1/learners/{name}/versions"))

    def learn_images(
        self, name: str, images: Sequence[LabelledImage], options: TaskOptions | None = None
    ) -> replies.Task:
        """Post labelled images as one multipart task; returns once they are checked and queued."""
        manifest = {
            f"{i:06d}": {"label": image.label, "split": image.split}
            for i, image in enumerate(images)
        }
        files: list[tuple[str, tuple[str | None, bytes | str, str]]] = [
            ("images", (f"{i:06d}", image.data, "application/octet-stream"))
            for i, image in enumerate(images)
        ]
        files.append(("manifest", (None, json.dumps(manifest), "application/json")))
        if options is not None and options.given():
            files.append(("options", (None, json.dumps(options.given()), "application/json")))
        return cast("replies.Task", self._http.post(f"/v1/learners/{name}/tasks", files=files))

    def learn_folder(
        self, name: str, folder: Path, options: TaskOptions | None = None
    ) -> replies.Task:
        """Post a folder `label/file` (or `train/label/file` and `eval/label/file`) as one task.

        Sent as one tar archive, so its size is bounded by disk, not by memory.

        Raises:
            EmptyFolderError: If it holds no labelled file.
        """
        params = {
            key: json.dumps(value) if isinstance(value, dict) else value
            for key, value in (options.given() if options else {}).items()
        }
        with tar_of_folder(folder) as archive:

            def chunks() -> Iterator[bytes]:
                archive.seek(0)
                while chunk := archive.read(1 << 20):
                    yield chunk

            size = archive.seek(0, 2)
            headers = {"Content-Type": "application/x-tar", "Content-Length": str(size)}
            path = f"/v1/learners/{name}/tasks"
            return cast(
                "replies.Task", self._http.post(path, params=params, body=chunks, headers=headers)
            )

    def task(self, task_id: str, *, wait_s: int | None = None) -> replies.Task:
        """Return a task, at the latest after `wait_s` seconds if it has not ended before."""
        params = {} if wait_s is None else {"wait": wait_s}
        return cast("replies.Task", self._http.get(f"/v1/tasks/{task_id}", params=params))

    def tasks(self, learner: str | None = None, *, limit: int | None = None) -> list[replies.Task]:
        """Return tasks, newest first; of one learner, or of all."""
        path = "/v1/tasks" if learner is None else f"/v1/learners/{learner}/tasks"
        return list(self._http.pages(path, limit=limit))

    def cancel_task(self, task_id: str) -> replies.Task:
        """Ask for a task to be stopped."""
        return cast("replies.Task", self._http.post(f"/v1/tasks/{task_id}/cancel"))

    def retry_task(self, task_id: str) -> replies.Task:
        """Queue a failed or cancelled task again."""
        return cast("replies.Task", self._http.post(f"/v1/tasks/{task_id}/retry"))

    def follow_task(
        self,
        task_id: str,
        on_progress: Callable[[replies.Task], None] | None = None,
        *,
        poll_s: float = 0.4,
    ) -> replies.Task:
        """Wait until a task has ended, reporting it on the way, and return it.

        Outlives a restart of the service: the task is a row, not a connection.
        """
        silent_since: float | None = None
        while True:
            try:
                task = self.task(task_id) if on_progress else self.task(task_id, wait_s=30)
            except UnreachableError:
                silent_since = silent_since or time.monotonic()
                if time.monotonic() - silent_since > PATIENCE_S:
                    raise
                continue
            silent_since = None
            if on_progress:
                on_progress(task)
            if task["status"] in ENDED:
                return task
            if on_progress:
                time.sleep(poll_s)

    def predict(
        self,
        name: str,
        images: Sequence[tuple[str, bytes]],
        *,
        top_k: int = 5,
        version: int | None = None,
        min_version: int | None = None,
        store: bool = True,
    ) -> replies.Prediction:
        """Say what `(filename, bytes)` images show, each with the route its answer took.

        Args:
            name: The learner.
            images: File name and encoded image of each.
            top_k: How many labels to rank.
            version: An older version instead of the live one.
            min_version: Wait until the live version is at least this one, such as a task's `version`.
            store: Keep the answer in the history.
        """
        params: dict[str, Any] = {"top_k": top_k, "trace": "full", "store": store}
        given = {"version": version, "min_version": min_version}
        params |= {key: value for key, value in given.items() if value is not None}
        files = [("images", (filename, data, "image/*")) for filename, data in images]
        path = f"/v1/learners/{name}/predictions"
        return cast("replies.Prediction", self._http.post(path, params=params, files=files))

    def create_key(self, name: str, role: str) -> replies.Key:
        """Create an API key; the answer's `key` is shown this once."""
        return cast("replies.Key", self._http.post("/v1/keys", json={"name": name, "role": role}))

    def keys(self) -> list[replies.Key]:
        """Return all keys, without their secrets."""
        return list(self._http.pages("/v1/keys"))

    def revoke_key(self, key_id: str) -> None:
        """Revoke a key at once."""
        self._http.send("DELETE", f"/v1/keys/{key_id}")

    def info(self) -> dict[str, Any]:
        """Return the service's version, limits and device."""
        return cast("dict[str, Any]", self._http.get("/v1/info"))
