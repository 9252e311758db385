"""The clients, a crowd of each kind; each crowd runs in a process of its own: see `benchmarks.load.crowd`."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.chaos.pictures import picture
from benchmarks.load.wire import Address, Connection, Reply

TICK_S = 0.05
GIVE_UP_S = 60.0
"""A request without an answer for so long has timed out; times the pace."""
INSIST_S = 120.0
"""An upload that was refused for so long is given up; times the pace."""
PAUSE_S = 0.5
"""Before something that failed is tried again, unless the service said when."""
N_PICTURES = 16
OK = 200
ACCEPTED = 202
CONFLICT = 409
FAILURES = (OSError, EOFError, ValueError, asyncio.LimitOverrunError)


@dataclass(frozen=True)
class Plan:
    """What a crowd is told."""

    kind: str
    url: str
    keys: list[str]
    """API keys, taken in turn."""
    learners: list[str]
    n: int
    """Clients."""
    think_s: float
    ramp_s: float
    """Over which clients arrive."""
    seed: int
    pace: float
    out: str
    """File for what it saw, as JSON."""
    niceness: int = 19


@dataclass(frozen=True)
class RequestRecord:
    """One request, and what came of it."""

    what: str
    at: float
    """Seconds since 1970."""
    seconds: float
    lag_s: float
    """How late this client's own process was when the answer lay there."""
    status: int
    """0: none."""
    outcome: str
    """`ok`, `refused` (honestly: with a problem document and Retry-After), `timeout`, `closed`, or what is wrong."""


class Crowd:
    """Clients of one kind."""

    def __init__(self, plan: Plan) -> None:
        self.asked: list[RequestRecord] = []
        self.plan = plan
        self.random = random.Random(plan.seed)
        self.stopping = asyncio.Event()
        self.counts: Counter[str] = Counter()
        """Of what is only counted."""
        self.open = 0
        """Streams or bodies that are open now."""
        self.held: list[int] = []
        """How many were open, every second."""
        self._address = Address.of(plan.url)
        self._tick = time.monotonic()
        self._overrun = 0.0

    async def run(self) -> dict[str, Any]:
        """Let all clients go on until `stopping`, and return what they saw."""
        helpers = [asyncio.create_task(self._ticks()), asyncio.create_task(self._count_open())]
        async with asyncio.TaskGroup() as group:
            for i in range(self.plan.n):
                group.create_task(self._arrive(i))
        for helper in helpers:
            helper.cancel()
        return self.report()

    def report(self) -> dict[str, Any]:
        """Return what they saw, as it is written."""
        asked = [list(asdict(one).values()) for one in self.asked]
        return {"asked": asked, "counts": dict(self.counts), "held": self.held}

    async def act(self, i: int) -> None:
        """Be client `i` until `stopping`."""
        raise NotImplementedError

    def key(self, i: int) -> dict[str, str]:
        """Return the header with the key of client `i`."""
        return {"Authorization": f"Bearer {self.plan.keys[i % len(self.plan.keys)]}"}

    def connection(self) -> Connection:
        """Return a new connection."""
        return Connection(self._address)

    async def rest(self, seconds: float) -> None:
        """Wait, or until `stopping`."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.stopping.wait(), seconds)

    async def ask(
        self,
        what: str,
        connection: Connection,
        request: tuple[str, str, dict[str, str], bytes],
        *,
        good: int = OK,
        started: float | None = None,
    ) -> Reply | None:
        """Ask, and note what came of it. None if there was no answer.

        A connection that was kept alive and turns out closed is opened again once, as every client does.
        """
        began = started or time.monotonic()
        status, outcome, reply = 0, "closed", None
        try:
            async with asyncio.timeout(GIVE_UP_S * self.plan.pace):
                reply = await self._ask_kept_alive(connection, request)
            status, outcome = reply.status, _outcome(reply, good)
        except TimeoutError:
            outcome = "timeout"
            connection.close()
        except FAILURES as error:
            outcome = f"closed ({type(error).__name__})"
            connection.close()
        self.note(what, began, status, outcome)
        return reply

    def note(self, what: str, began: float, status: int, outcome: str) -> None:
        """Note what came of something that began at a time of the monotonic clock."""
        now, lag = time.monotonic(), self.lag_s()
        at = time.time() - (now - began)
        self.asked.append(
            RequestRecord(what, round(at, 3), round(now - began, 4), round(lag, 4), status, outcome)
        )

    def lag_s(self) -> float:
        """Return how late this process is with what lies ready for it, in seconds."""
        return max(self._overrun, time.monotonic() - self._tick - TICK_S, 0.0)

    async def _ask_kept_alive(
        self, connection: Connection, request: tuple[str, str, dict[str, str], bytes]
    ) -> Reply:
        is_old = connection.has_answered
        try:
            return await connection.ask(*request)
        except FAILURES:
            connection.close()
            if not is_old:
                raise
        self.counts["kept-alive connections found closed"] += 1
        return await connection.ask(*request)

    async def _arrive(self, i: int) -> None:
        await self.rest(self.plan.ramp_s * i / self.plan.n)
        if not self.stopping.is_set():
            await self.act(i)

    async def _ticks(self) -> None:
        while True:
            self._tick = time.monotonic()
            await asyncio.sleep(TICK_S)
            self._overrun = max(0.0, time.monotonic() - self._tick - TICK_S)

    async def _count_open(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self.held.append(self.open)


class Predictors(Crowd):
    """Each predicts, thinks a little, and predicts again, on a connection kept alive; refused, it waits as told."""

    async def act(self, i: int) -> None:
        """Predict until `stopping`."""
        connection = self.connection()
        headers = {**self.key(i), "Content-Type": "image/png"}
        path = f"/v1/learners/{self.plan.learners[0]}/predictions?store=false"
        image = picture(self.plan.seed, i % N_PICTURES, 0)
        while not self.stopping.is_set():
            reply = await self.ask("predict", connection, ("POST", path, headers, image))
            pause_s = self.random.expovariate(1 / self.plan.think_s)
            if reply is None:
                pause_s = PAUSE_S
            elif reply.retry_after_s is not None:
                pause_s += reply.retry_after_s
            await self.rest(pause_s)
        connection.close()


class Neighbour(Crowd):
    """One who asks at fixed times, whatever became of the last: each answer is timed from when it was due."""

    async def act(self, i: int) -> None:
        """Predict until `stopping`, `think_s` apart."""
        idle: list[Connection] = []
        under_way: set[asyncio.Task[None]] = set()
        due = time.monotonic()
        while not self.stopping.is_set():
            due += self.plan.think_s
            await self.rest(max(0.0, due - time.monotonic()))
            connection = idle.pop() if idle else self.connection()
            task = asyncio.create_task(self._ask_once(connection, due, idle))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        await asyncio.gather(*under_way)
        for connection in idle:
            connection.close()

    async def _ask_once(self, connection: Connection, due: float, idle: list[Connection]) -> None:
        headers = {**self.key(0), "Content-Type": "image/png"}
        path = f"/v1/learners/{self.plan.learners[0]}/predictions?store=false"
        image = picture(self.plan.seed, len(self.asked) % N_PICTURES, 1)
        await self.ask("neighbour", connection, ("POST", path, headers, image), started=due)
        idle.append(connection)


@dataclass
class Upload:
    """A task to be uploaded, under one Idempotency-Key."""

    key: str
    learner: str
    tasks: list[str] = field(default_factory=list)
    """Ids that answers named: never more than one."""
    tries: int = 0
    refusal: str | None = None
    """Why it was given up."""


class Uploaders(Crowd):
    """Bursts of uploads at once, each insisted on until it is accepted; the next burst once few tasks are left."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.uploads: list[Upload] = []
        self._unfinished: set[str] = set()
        self._bursts = 0

    def report(self) -> dict[str, Any]:
        """Add the uploads."""
        return {**super().report(), "uploads": [asdict(upload) for upload in self.uploads]}

    async def _arrive(self, i: int) -> None:
        # One who lets them all go at once.
        if i == 0:
            while not self.stopping.is_set():
                await self._burst()
                while not self.stopping.is_set() and len(self._unfinished) > self.plan.n // 5:
                    await self._look()
                    await self.rest(2.0)

    async def _burst(self) -> None:
        self._bursts += 1
        async with asyncio.TaskGroup() as group:
            for i in range(self.plan.n):
                group.create_task(self._upload(i))

    async def _upload(self, i: int) -> None:
        plan, number = self.plan, len(self.uploads)
        learner = plan.learners[i % len(plan.learners)]
        upload = Upload(f"load-{plan.seed}-{self._bursts}-{i}", learner)
        self.uploads.append(upload)
        kind, body = _form(plan.seed, number)
        headers = {**self.key(i), "Content-Type": kind, "Idempotency-Key": upload.key}
        request = ("POST", f"/v1/learners/{learner}/tasks", headers, body)
        deadline = time.monotonic() + INSIST_S * plan.pace
        while time.monotonic() < deadline:
            upload.tries += 1
            connection = self.connection()
            reply = await self.ask("upload", connection, request, good=ACCEPTED)
            connection.close()
            pause_s = PAUSE_S
            if reply is not None and reply.status == ACCEPTED:
                upload.tasks = sorted({*upload.tasks, reply.json()["id"]})
                self._unfinished.update(upload.tasks)
                return
            if reply is not None:
                if self.asked[-1].outcome != "refused" and reply.status < 500:
                    upload.refusal = f"{reply.status} {reply.body[:200]!r}"
                    return
                pause_s = reply.retry_after_s or PAUSE_S
            await asyncio.sleep(pause_s * self.random.uniform(1.0, 1.5))
        upload.refusal = "never accepted"

    async def _look(self) -> None:
        connection = self.connection()
        for task in sorted(self._unfinished):
            request = ("GET", f"/v1/tasks/{task}", self.key(0), b"")
            reply = await self.ask("read", connection, request)
            if reply is not None and reply.status == OK and reply.json()["finished_at"]:
                self._unfinished.discard(task)
        connection.close()


def _form(seed: int, number: int) -> tuple[str, bytes]:
    """Return the type and the body of an upload of two classes that nobody else brings."""
    boundary = "load-boundary"
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="images"; filename="{label}/{j}.png"\r\n'
        f"Content-Type: image/png\r\n\r\n".encode()
        + picture(seed, 10_000 + 2 * number + side, j)
        + b"\r\n"
        for side, label in enumerate((f"load-{number}-a", f"load-{number}-b"))
        for j in range(4)
    ]
    return f"multipart/form-data; boundary={boundary}", b"".join(
        [*parts, f"--{boundary}--\r\n".encode()]
    )


def _outcome(reply: Reply, good: int) -> str:
    if reply.status == good:
        return "ok"
    if reply.is_refusal or (reply.status == CONFLICT and reply.retry_after_s is not None):
        return "refused"
    lacks = [
        what
        for what, is_there in (
            ("no problem document", reply.is_problem),
            ("no Retry-After", reply.retry_after_s is not None or reply.status < 429),
        )
        if not is_there
    ]
    return ", ".join([str(reply.status), *lacks])


async def carry_out(crowd: Crowd, told_to_stop: Coroutine[Any, Any, None]) -> dict[str, Any]:
    """Let a crowd go on until it is told to stop, and return what it saw."""

    async def stop() -> None:
        await told_to_stop
        crowd.stopping.set()

    waiting = asyncio.create_task(stop())
    seen = await crowd.run()
    waiting.cancel()
    return seen
