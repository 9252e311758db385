"""Teaching a real service over HTTP, and waiting for its answers."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx

from benchmarks.learning_speed.pictures import Taught
from registry.environment import KNOWN
from registry.statuses import ENDED, TaskStatus

CONSOLIDATES = "FILOPODIA_CONSOLIDATE" in KNOWN
"""Whether this release consolidates in tasks of their own. Where it does not, learning is all there is."""
BY_HAND = {"FILOPODIA_CONSOLIDATE": "by_hand"} if CONSOLIDATES else {}
"""What a service is told that is to consolidate only when it is asked to."""
LONG_POLL_S = 30
OPTIONS = '{"screening": "warn"}'
"""Looked at as ever, but never held: invented classes may look alike."""


@dataclass(frozen=True)
class Answered:
    """How long one task took, in seconds from its POST."""

    uploaded_s: float
    """Until 202."""
    published_s: float
    """Until the row says that it has ended, by the database's clock."""
    answered_s: float
    """Until an image of a new class was answered by a version that knows it."""
    phases: dict[str, float]
    """Seconds of the attempt's phases, as the row tells them."""
    is_right: bool
    """Whether that first answer was the class."""


class Teacher:
    """A client of one service."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def create(self, learner: str, backbone: str, *, adapt: str = "evidence") -> None:
        """Make a learner that adapts its features where evidence says so, `always` or `never`."""
        named = {"name": learner, "strategy": "artsy", "backbone": backbone}
        body = {**named, "config": {"adapt": adapt}}
        self._client.post("/v1/learners", json=body).raise_for_status()

    def version(self, learner: str) -> int:
        """Return the live version; 0 before the first."""
        answer = self._client.get(f"/v1/learners/{learner}").raise_for_status().json()
        return int(answer["live_version"])

    def post(self, learner: str, classes: Sequence[Taught]) -> str:
        """Post a task and return its id."""
        files = [
            ("images", (f"{taught.label}/{i}.png", image, "image/png"))
            for taught in classes
            for i, image in enumerate(taught.images)
        ]
        path = f"/v1/learners/{learner}/tasks"
        answer = self._client.post(path, files=files, data={"options": OPTIONS})
        return str(answer.raise_for_status().json()["id"])

    def teach(self, learner: str, classes: Sequence[Taught]) -> Answered:
        """Post a task and wait for the first answer of one of its classes."""
        version = self.version(learner)
        asked = classes[-1]
        started = time.perf_counter()
        task_id = self.post(learner, classes)
        uploaded_s = time.perf_counter() - started
        label = self._first_answer(learner, task_id, version, asked)
        answered_s = time.perf_counter() - started
        task = self.ended(task_id)
        return Answered(
            uploaded_s=round(uploaded_s, 3),
            published_s=round(uploaded_s + self.seconds(task, "created_at"), 3),
            answered_s=round(answered_s, 3),
            phases=self.phases(learner, task["version"]),
            is_right=label == asked.label,
        )

    def consolidate(self, learner: str) -> dict[str, Any]:
        """Ask for a consolidation, wait for its end and return the task."""
        return self.ended(self.start_consolidating(learner))

    def start_consolidating(self, learner: str) -> str:
        """Ask for a consolidation and return the id of its task."""
        answer = self._client.post(f"/v1/learners/{learner}/consolidations", json={})
        return str(answer.raise_for_status().json()["id"])

    def ended(self, task_id: str) -> dict[str, Any]:
        """Wait until a task has ended, and return it.

        Raises:
            RuntimeError: If it went wrong.
        """
        task: dict[str, Any] = {"status": None}
        while task["status"] not in ENDED:
            task = self.task(task_id, LONG_POLL_S)
        if task["status"] in (TaskStatus.FAILED, TaskStatus.CANCELLED):
            raise RuntimeError(f"Task {task_id} ended as {task['status']}: {task['error']}.")
        return task

    def task(self, task_id: str, wait_s: int = 0) -> dict[str, Any]:
        """Return a task as it is, once it has ended or some seconds are over."""
        answer = self._client.get(f"/v1/tasks/{task_id}", params={"wait": wait_s})
        task: dict[str, Any] = answer.raise_for_status().json()
        return task

    def accuracy(self, learner: str, classes: Sequence[Taught]) -> float:
        """Return the share of the images to ask about that are answered rightly, in 0..1."""
        right, n = 0, 0
        for taught in classes:
            for image in taught.asked:
                answer = self._predict(learner, image, {"store": False})
                right += answer.raise_for_status().json()["results"][0]["label"] == taught.label
                n += 1
        return right / n

    def cancel(self, task_id: str) -> None:
        """Cancel a task if it has not ended, and wait until it has."""
        self._client.post(f"/v1/tasks/{task_id}/cancel")
        while self.task(task_id, LONG_POLL_S)["status"] not in ENDED:
            continue

    @staticmethod
    def seconds(task: Mapping[str, Any], since: str) -> float:
        """Return the seconds from a moment of a task, such as `started_at`, until its end."""
        ended, began = (datetime.fromisoformat(task[name]) for name in ("finished_at", since))
        return (ended - began).total_seconds()

    def phases(self, learner: str, version: int | None) -> dict[str, float]:
        """Return the seconds of each phase of the attempt that made a version; nothing if it made none."""
        if version is None:
            return {}
        path = f"/v1/learners/{learner}/versions/{version}"
        metrics = self._client.get(path).raise_for_status().json()["metrics"]
        return {name: round(seconds, 3) for name, seconds in metrics.get("seconds", {}).items()}

    def _first_answer(self, learner: str, task_id: str, version: int, asked: Taught) -> str:
        """Ask until a version knows the class, and return what is answered then."""
        image = asked.asked[0]
        while True:
            # The service keeps the question until that version is served: no busy asking.
            wanted = {"min_version": version + 1, "top_k": 1000, "store": False}
            answer = self._predict(learner, image, wanted)
            if answer.status_code == httpx.codes.OK:
                body = answer.json()
                [result] = body["results"]
                if asked.label in (ranked["label"] for ranked in result["top"]):
                    return str(result["label"])
                version = body["version"]  # something else was published meanwhile
            elif answer.status_code != httpx.codes.CONFLICT:
                answer.raise_for_status()
            elif self.task(task_id)["status"] in ENDED:
                self.ended(task_id)
            else:
                time.sleep(0.01)  # nothing is learned yet: that is answered at once

    def _predict(self, learner: str, image: bytes, params: dict[str, Any]) -> httpx.Response:
        path = f"/v1/learners/{learner}/predictions"
        headers = {"Content-Type": "image/png"}
        return self._client.post(path, content=image, params=params, headers=headers)
