"""The load: one who uploads tasks, two who ask for predictions, one who reads. Each records all it does and sees."""

import http.client
import json
import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx

from benchmarks.chaos.history import Answer, History, Phase
from benchmarks.chaos.pictures import picture
from registry.statuses import ENDED, TaskStatus

IMAGES_A_CLASS = 5
UPLOAD_TIMEOUT_S, PREDICT_TIMEOUT_S, READ_TIMEOUT_S = 8.0, 5.0, 5.0
GIVE_UP_S = 20.0
"""After that long without an answer an upload counts as unknown."""
RETRY_S = 0.4
TWICE_IN = 4
"""One upload in so many is sent twice at once, to both apis, with the same key."""
BURST_IN, BURST = 12, 4
"""One upload in so many is followed by that many more without waiting for any of them."""
TRY_ANOTHER = (None, httpx.codes.SERVICE_UNAVAILABLE)
"""Answers after which the balanced predictor tries the other api: none, or that of one that is not ready yet."""
N_PICTURES = 8
PREDICT_SLOTS = 12
SLOW_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Target:
    """A learner to teach and to ask."""

    name: str
    strategy: str
    config: dict[str, Any]


@dataclass
class Upload:
    """One task that was to be uploaded, under one Idempotency-Key."""

    key: str
    learner: str
    classes: list[str]
    files: list[tuple[str, bytes]]
    """Label and image."""
    options: dict[str, Any]
    outcome: Phase = "invoke"
    task_ids: set[str] = field(default_factory=set)
    """What the answers named: never more than one."""
    refusals: set[str] = field(default_factory=set)
    tries: int = 0


@dataclass
class ClientRecord:
    """What the clients know in common: uploads so far, and the statuses of acknowledged tasks."""

    uploads: list[Upload] = field(default_factory=list)
    statuses: dict[str, str] = field(default_factory=dict)

    def unfinished(self) -> list[str]:
        """Return the acknowledged tasks that have not ended, as far as anybody has read."""
        return [task for task, status in list(self.statuses.items()) if status not in ENDED]


class Client(threading.Thread):
    """A thread with a connection to each api that goes on until it is told to stop."""

    def __init__(
        self, name: str, urls: dict[str, str], key: str, history: History, *, timeout_s: float
    ) -> None:
        super().__init__(name=name, daemon=True)
        headers = {"Authorization": f"Bearer {key}"}
        self.history = history
        self.apis = {
            api: httpx.Client(base_url=url, headers=headers, timeout=timeout_s)
            for api, url in urls.items()
        }
        self.stopping = threading.Event()

    def stop(self) -> None:
        """Ask it to stop, and wait until it has."""
        self.stopping.set()
        if self.is_alive():
            self.join()
        for client in self.apis.values():
            client.close()


class Uploader(Client):
    """Uploads tasks of two new classes, never many more than there are workers, and insists on an answer."""

    def __init__(
        self,
        urls: dict[str, str],
        key: str,
        history: History,
        record: ClientRecord,
        targets: Sequence[Target],
        *,
        seed: int,
        window: int,
        pace: float = 1.0,
    ) -> None:
        super().__init__("uploader", urls, key, history, timeout_s=UPLOAD_TIMEOUT_S * pace)
        self._give_up_s = GIVE_UP_S * pace
        self.record = record
        self.paused = threading.Event()
        self._targets = targets
        self._seed = seed
        self._random = random.Random(seed)
        self._window = window
        self._pool = ThreadPoolExecutor(4, thread_name_prefix="upload")

    def run(self) -> None:
        """Upload until told to stop."""
        ahead = 0
        while not self.stopping.wait(0.1):
            if self.paused.is_set() or (
                len(self.record.unfinished()) >= self._window and ahead == 0
            ):
                continue
            ahead = max(0, ahead - 1)
            if ahead == 0 and self._random.randrange(BURST_IN) == 0:
                ahead = BURST
            n = len(self.record.uploads)
            target = self._targets[n % len(self._targets)]
            self.upload(target, twice=self._random.randrange(TWICE_IN) == 0)
        self._pool.shutdown()

    def upload(self, target: Target, *, twice: bool = False) -> Upload:
        """Upload one task and insist until it is answered or `GIVE_UP_S` are over."""
        upload = self._make(target)
        self.record.uploads.append(upload)
        self.history.add("upload", upload.key, "invoke", learner=target.name, twice=twice)
        apis = list(self.apis)
        self._random.shuffle(apis)
        if twice:
            list(
                self._pool.map(lambda api: self._repeat_until_answered(upload, [api, *apis]), apis)
            )
        else:
            self._repeat_until_answered(upload, apis)
        if upload.task_ids:
            upload.outcome = "ok"
        else:
            upload.outcome = "fail" if upload.refusals else "unknown"
        for task_id in upload.task_ids:
            self.record.statuses.setdefault(task_id, TaskStatus.QUEUED)
        self.history.add(
            "upload",
            upload.key,
            upload.outcome,
            tasks=sorted(upload.task_ids),
            refusals=sorted(upload.refusals),
            tries=upload.tries,
        )
        return upload

    def _make(self, target: Target) -> Upload:
        n = len(self.record.uploads)
        classes = [f"class-{n}-a", f"class-{n}-b"]
        files = [
            (label, picture(self._seed, 2 * n + i, j))
            for i, label in enumerate(classes)
            for j in range(IMAGES_A_CLASS)
        ]
        key = f"upload-{self._seed}-{n}"
        return Upload(key, target.name, classes, files, {"name": key, "seed": n})

    def _repeat_until_answered(self, upload: Upload, apis: Sequence[str]) -> None:
        deadline = time.monotonic() + self._give_up_s
        turn = 0
        while time.monotonic() < deadline:
            api = apis[turn % len(apis)]
            turn += 1
            upload.tries += 1
            started = time.time()
            try:
                answer = self._post(self.apis[api], upload)
            except httpx.HTTPError as error:
                problem, status = type(error).__name__, None
            else:
                status = answer.status_code
                body = answer.json()
                if status == httpx.codes.ACCEPTED:
                    upload.task_ids.add(body["id"])
                    self._note(upload, api, started, status, "ok")
                    return
                problem = str(body.get("code"))
            self._note(upload, api, started, status, problem)
            if status is not None and status < 500 and problem != "idempotency-in-progress":
                upload.refusals.add(problem)
                return
            time.sleep(RETRY_S)

    def _note(
        self, upload: Upload, api: str, started: float, status: int | None, outcome: str
    ) -> None:
        phase: Phase = "ok" if outcome == "ok" else "unknown" if status is None else "fail"
        self.history.add(
            "try", upload.key, phase, api=api, started=started, status=status, outcome=outcome
        )

    def _post(self, client: httpx.Client, upload: Upload) -> httpx.Response:
        files = [
            ("images", (f"{label}/{i}.png", data, "image/png"))
            for i, (label, data) in enumerate(upload.files)
        ]
        return client.post(
            f"/v1/learners/{upload.learner}/tasks",
            data={"options": json.dumps(upload.options)},
            files=files,
            headers={"Idempotency-Key": upload.key},
        )


class Predictor(Client):
    """Asks for predictions at fixed times, whether or not the last one was answered (an open loop).

    Args:
        name: StoredFeedback with each answer.
        urls: Of the apis, which it takes in turn.
        key: API key.
        history: Where answers go.
        targets: Learners to ask, in turn.
        per_s: Requests a second.
        pace: How many times as long an answer may take.
        is_balanced: Whether it tries another api when one cannot be reached, as a load balancer does.
    """

    def __init__(
        self,
        name: str,
        urls: dict[str, str],
        key: str,
        history: History,
        targets: Sequence[Target],
        *,
        per_s: float,
        is_balanced: bool,
        pace: float = 1.0,
    ) -> None:
        super().__init__(name, urls, key, history, timeout_s=PREDICT_TIMEOUT_S * pace)
        self._targets = targets
        self._per_s = per_s
        self._is_balanced = is_balanced
        self._pictures = [picture(0, n, 0) for n in range(N_PICTURES)]
        self._pool = ThreadPoolExecutor(PREDICT_SLOTS, thread_name_prefix=name)

    def run(self) -> None:
        """Ask until told to stop."""
        names = list(self.apis)
        n = 0
        next_at = time.monotonic()
        while not self.stopping.wait(max(0.0, next_at - time.monotonic())):
            next_at += 1 / self._per_s
            turn = n % len(names)
            apis = [*names[turn:], *names[:turn]] if self._is_balanced else [names[turn]]
            target = self._targets[n // len(names) % len(self._targets)]
            self._pool.submit(self._ask, apis, target.name, n % N_PICTURES, time.time())
            n += 1
        self._pool.shutdown()

    def _ask(self, apis: Sequence[str], learner: str, image: int, asked_at: float) -> None:
        api = apis[0]
        outcome, status, body = self._try(api, learner, image)
        if status in TRY_ANOTHER and len(apis) > 1:
            api = apis[1]
            outcome, status, body = self._try(api, learner, image)
        result = (body.get("results") or [{}])[0]
        self.history.add_answer(
            Answer(
                client=self.name,
                api=api,
                learner=learner,
                image=image,
                started_at=asked_at,
                ended_at=time.time(),
                outcome=outcome,
                status=status,
                version=body.get("version"),
                label=result.get("label"),
                score=result.get("score"),
            )
        )

    def _try(self, api: str, learner: str, image: int) -> tuple[str, int | None, dict[str, Any]]:
        try:
            answer = self.apis[api].post(
                f"/v1/learners/{learner}/predictions",
                content=self._pictures[image],
                headers={"Content-Type": "image/png"},
            )
        except httpx.HTTPError as error:
            return type(error).__name__, None, {}
        body = answer.json()
        is_ok = answer.status_code == httpx.codes.OK
        return "ok" if is_ok else str(body.get("code")), answer.status_code, body


class Reader(Client):
    """Reads acknowledged tasks until they have ended, and lists now and then. What it read must stay true."""

    def __init__(
        self,
        urls: dict[str, str],
        key: str,
        history: History,
        record: ClientRecord,
        *,
        every_s: float = 0.4,
        pace: float = 1.0,
    ) -> None:
        super().__init__("reader", urls, key, history, timeout_s=READ_TIMEOUT_S * pace)
        self._client_record = record
        self._every_s = every_s
        self._turn = 0
        self._lists = ["/v1/learners", "/v1/tasks?limit=5", "/v1/workers", "/v1/info"]

    def run(self) -> None:
        """Read until told to stop."""
        while not self.stopping.wait(self._every_s):
            for task_id in self._client_record.unfinished():
                self._read(f"/v1/tasks/{task_id}", self._note_status)
            self._read(self._lists[self._turn % len(self._lists)])

    def _note_status(self, body: dict[str, Any]) -> None:
        self._client_record.statuses[body["id"]] = body["status"]

    def _read(self, path: str, use: Callable[[dict[str, Any]], None] | None = None) -> None:
        names = list(self.apis)
        api = names[self._turn % len(names)]
        self._turn += 1
        try:
            answer = self.apis[api].get(path)
        except httpx.HTTPError as error:
            self.history.add("read", path, "unknown", api=api, outcome=type(error).__name__)
            return
        if answer.status_code == httpx.codes.OK:
            if use is not None:
                use(answer.json())
        else:
            self.history.add("read", path, "fail", api=api, status=answer.status_code)


class SlowPrediction(threading.Thread):
    """One prediction whose body comes in two halves, so that it is under way for as long as we like."""

    def __init__(self, url: str, key: str, learner: str, *, seconds: float) -> None:
        super().__init__(name="slow", daemon=True)
        self.accepted = threading.Event()
        """Set when the service has begun to read the request: it said `100 Continue`."""
        self.outcome = "not accepted"
        """`200`, another status, or the name of the error; as it begins, if the service never accepted it."""
        self._address = urlsplit(url).netloc
        self._path = f"/v1/learners/{learner}/predictions"
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "image/png"}
        self._seconds = seconds

    def run(self) -> None:
        """Ask."""
        image = picture(0, 0, 0)
        half = len(image) // 2
        connection = http.client.HTTPConnection(self._address, timeout=SLOW_TIMEOUT_S)
        try:
            connection.putrequest("POST", self._path)
            headers = {"Content-Length": str(len(image)), "Expect": "100-continue"}
            for name, value in (self._headers | headers).items():
                connection.putheader(name, value)
            connection.endheaders()
            if not connection.sock.recv(100).startswith(b"HTTP/1.1 100"):
                return
            self.accepted.set()
            connection.send(image[:half])
            time.sleep(self._seconds)
            connection.send(image[half:])
            self.outcome = str(connection.getresponse().status)
        except (OSError, http.client.HTTPException) as error:
            if self.accepted.is_set():
                self.outcome = type(error).__name__
        finally:
            connection.close()
