"""One who operates a learner while everything fails: teaches, unlearns, gives feedback, rolls back, moves bundles.

The learner is one of its own: the checks of the others need versions that only ever grow. What it asked and what came
back is what `benchmarks.chaos.operated` judges.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from benchmarks.chaos.clients import N_PICTURES, ClientRecord, Target, Uploader
from benchmarks.chaos.history import History
from benchmarks.chaos.insisting import Insisting, Operation, PredictedLabel, body_of
from benchmarks.chaos.pictures import picture
from registry.statuses import TaskStatus

TARGET = Target("operated", "simplecil", {})
"""Unlearns exactly, and learns in a moment."""
OPERATE_TIMEOUT_S = 15.0
BETWEEN_S = 0.4
IMAGES_ASKED = 3
BUNDLE_IN = 3
"""One turn in so many moves a bundle."""
UPLOAD_SEED = 500_000
"""Added to the run's, so that keys and images are nobody else's."""


@dataclass(frozen=True)
class ObservedVersion:
    """A version that was read: as what the alias points to, or as that of an answer."""

    started: float
    ended: float
    version: int


@dataclass
class OperatorLog:
    """All that the operator did and saw."""

    operations: list[Operation] = field(default_factory=list)
    aliases: list[ObservedVersion] = field(default_factory=list)
    answers: list[ObservedVersion] = field(default_factory=list)
    compared: list[tuple[str, list[PredictedLabel], list[PredictedLabel]]] = field(
        default_factory=list
    )
    """Name of an imported learner, with what the exported version and what it says of the same images."""
    uploads: ClientRecord = field(default_factory=ClientRecord)

    def of(self, kind: str) -> list[Operation]:
        """Return the operations of a kind."""
        return [one for one in self.operations if one.kind == kind]


class Operator(Insisting):
    """Goes round: reads the alias, predicts and says what it was, rolls back, teaches or unlearns, moves a bundle."""

    def __init__(
        self,
        urls: dict[str, str],
        key: str,
        history: History,
        done: OperatorLog,
        *,
        seed: int,
        pace: float = 1.0,
    ) -> None:
        super().__init__(
            "operator",
            urls,
            key,
            history,
            done.operations,
            seed=seed,
            timeout_s=OPERATE_TIMEOUT_S * pace,
            pace=pace,
        )
        self.done = done
        self.is_paused = threading.Event()
        """Set while nothing new is to begin."""
        self._uploader = Uploader(
            urls, key, history, self.done.uploads, [TARGET], seed=UPLOAD_SEED + seed, window=1
        )
        self._pictures = [picture(0, n, 0) for n in range(N_PICTURES)]
        self._has_unlearned = False
        """Whether that was the last change."""
        self._gone: set[str] = set()
        """Classes that were asked to be unlearned."""

    def stop(self) -> None:
        """Ask it to stop, and wait until it has."""
        super().stop()
        self._uploader.stop()

    def teach(self) -> None:
        """Upload one task."""
        self._uploader.upload(TARGET)

    def run(self) -> None:
        """Go round until told to stop."""
        turns: Sequence[Callable[[], None]] = (
            self._read_alias,
            self._give_feedback,
            self._move,
            self._change,
            self._read_alias,
            self._carry_bundle,
        )
        turn = 0
        while not self.stopping.wait(BETWEEN_S * self._pace):
            self._follow()
            if not self.is_paused.is_set():
                turns[turn % len(turns)]()
                turn += 1

    def unfinished(self) -> list[str]:
        """Return its acknowledged tasks that have not ended, as far as it has read."""
        return self.done.uploads.unfinished()

    def _follow(self) -> None:
        for task_id in self.unfinished():
            answer = self._get(f"/v1/tasks/{task_id}")
            if answer is not None:
                self.done.uploads.statuses[task_id] = answer["status"]

    def _read_alias(self) -> None:
        started = time.time()
        alias = self._get(f"/v1/learners/{TARGET.name}/aliases/live")
        if alias is not None:
            self.done.aliases.append(ObservedVersion(started, time.time(), alias["version"]))

    def _give_feedback(self) -> None:
        image = self._random.randrange(N_PICTURES)
        started = time.time()
        answer = self._ask_about(TARGET.name, image)
        if answer is None:
            return
        self.done.answers.append(ObservedVersion(started, time.time(), answer["version"]))
        label = str(answer["results"][0]["label"])
        body = {"index": 0, "label": label}
        path = f"/v1/predictions/{answer['id']}/feedback"
        what = {"prediction": answer["id"], "index": 0, "label": label}
        self._repeat_until_answered(
            "feedback", what, lambda client, key: client.post(path, json=body)
        )

    def _move(self) -> None:
        versions = self._get(f"/v1/learners/{TARGET.name}/versions?limit=5")
        served = [v["number"] for v in (versions or {}).get("items", []) if not v["erased_at"]]
        if served:
            body = {"version": self._random.choice(served)}
            path = f"/v1/learners/{TARGET.name}/aliases/live"
            self._repeat_until_answered(
                "move", body, lambda client, key: client.put(path, json=body)
            )

    def _change(self) -> None:
        """Take a class away, or teach two others: in turn, one after the other has ended."""
        if self.unfinished():
            return
        known = [
            label
            for upload in self.done.uploads.uploads
            for label in upload.classes
            if label not in self._gone and self._is_learned(upload.task_ids)
        ]
        if self._has_unlearned or len(known) < 2:
            self._has_unlearned = False
            self.teach()
            return
        self._has_unlearned = True
        label = self._random.choice(known[:-1])
        self._gone.add(label)
        path = f"/v1/learners/{TARGET.name}/unlearn"
        body = {"classes": [label], "name": f"unlearn-{label}"}
        one = self._repeat_until_answered(
            "unlearn",
            body,
            lambda client, key: client.post(path, json=body, headers={"Idempotency-Key": key}),
        )
        if one.outcome == "ok":
            self.done.uploads.statuses.setdefault(one.answer["id"], TaskStatus.QUEUED)

    def _is_learned(self, task_ids: set[str]) -> bool:
        return any(
            self.done.uploads.statuses.get(task) == TaskStatus.SUCCEEDED for task in task_ids
        )

    def _carry_bundle(self) -> None:
        """Export a version, import it under another name, and ask both about the same images."""
        if self._random.randrange(BUNDLE_IN):
            return
        versions = self._get(f"/v1/learners/{TARGET.name}/versions?limit=1")
        if not versions or not versions["items"]:
            return
        number = versions["items"][0]["number"]
        answer = self._try(
            "export",
            "bundle",
            lambda client: client.get(f"/v1/learners/{TARGET.name}/versions/{number}/bundle"),
        )
        if answer is None or answer.status_code != httpx.codes.OK:
            return
        before = self._opinions(TARGET.name, f"?version={number}&store=false")
        name = f"imported-{self._n}"
        headers = {"Content-Type": "application/x-tar"}
        one = self._repeat_until_answered(
            "import",
            {"name": name, "version": number},
            lambda client, key: client.post(
                f"/v1/learners/import?name={name}",
                content=answer.content,
                headers={**headers, "Idempotency-Key": key},
            ),
        )
        if one.outcome == "ok":
            after = self._opinions(name, "?min_version=1&store=false")
            if before and after:
                self.done.compared.append((name, before, after))

    def _opinions(self, learner: str, query: str) -> list[PredictedLabel]:
        """Ask about a few images; nothing if one of them was not answered."""
        opinions = []
        for image in range(IMAGES_ASKED):
            answer = self._ask_about(learner, image, query)
            if answer is None:
                return []
            first = answer["results"][0]
            opinions.append(PredictedLabel(image, first["label"], first["score"]))
        return opinions

    def _ask_about(self, learner: str, image: int, query: str = "") -> dict[str, Any] | None:
        answer = self._try(
            "ask",
            learner,
            lambda client: client.post(
                f"/v1/learners/{learner}/predictions{query}",
                content=self._pictures[image],
                headers={"Content-Type": "image/png"},
            ),
        )
        return body_of(answer)
