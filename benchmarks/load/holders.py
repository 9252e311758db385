"""Clients who hold connections: those who watch tasks, and those whose bodies never end."""

import asyncio
import json
import time
from datetime import datetime

from benchmarks.load.crowds import FAILURES, OK, PAUSE_S, Crowd, Plan
from benchmarks.load.wire import Connection, Reply, head, pieces, read_head
from registry.statuses import TaskStatus

LIST_S = 1.0
SILENCE_S = 60.0
"""A stream says something every 15 s; one that has been silent for so long is dead. Times the pace."""
LAST_EVENT = "end"
"""Of a task that has ended, however it did."""
DECLARED = 20_000
"""Bytes of a slow body; they come one a second."""
BETWEEN_S = 5.0
"""Before a slow client that was hung up on comes again."""
MOST_DELAYS = 20_000


class Watchers(Crowd):
    """Each holds the event stream of an unfinished task open until the task ends, then that of another."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self._tasks: list[str] = []
        self._delays: list[float] = []
        """Seconds from an event to its coming here, without our own lateness; of events while a stream was open."""

    def report(self) -> dict[str, object]:
        """Add the delays of events."""
        return {**super().report(), "delays": [round(delay, 3) for delay in self._delays]}

    async def act(self, i: int) -> None:
        """Watch until `stopping`."""
        if i == 0:
            await self._list()
            return
        while not self.stopping.is_set():
            if not self._tasks:
                await self.rest(PAUSE_S)
                continue
            pause_s = await self._watch(i, self._tasks[i % len(self._tasks)])
            await self.rest(pause_s)

    async def _list(self) -> None:
        connection = self.connection()
        while not self.stopping.is_set():
            ids: list[str] = []
            for status in (TaskStatus.RUNNING, TaskStatus.QUEUED):
                request = ("GET", f"/v1/tasks?status={status}&limit=100", self.key(0), b"")
                reply = await self.ask("list", connection, request)
                if reply is not None and reply.status == OK:
                    ids += [task["id"] for task in reply.json()["items"]]
            self._tasks = ids
            await self.rest(LIST_S)
        connection.close()

    async def _watch(self, i: int, task: str) -> float:
        """Read one stream to its end, note what came of it, and return how long to wait before the next."""
        began, status, outcome, pause_s = time.monotonic(), 0, "closed", PAUSE_S
        connection = self.connection()
        try:
            reader, writer = await connection.open()
            accepting = {**self.key(i), "Accept": "text/event-stream"}
            writer.write(head("GET", f"/v1/tasks/{task}/events", accepting))
            reply = await asyncio.wait_for(read_head(reader), SILENCE_S * self.plan.pace)
            status = reply.status
            if status == OK:
                outcome = await self._read(reader, reply)
            else:
                outcome = "refused" if reply.is_refusal else f"{status}, not an honest refusal"
                pause_s = reply.retry_after_s or PAUSE_S
        except TimeoutError:
            outcome = "timeout"
        except FAILURES as error:
            outcome = f"closed ({type(error).__name__})"
        connection.close()
        self.note("stream", began, status, outcome)
        return pause_s

    async def _read(self, reader: asyncio.StreamReader, reply: Reply) -> str:
        """Read events until the stream ends or we stop; say `ok`, or what was wrong."""
        self.open += 1
        opened, last_seq, last_type, rest = time.time(), 0, "", b""
        body = pieces(reader, reply)
        stopped = asyncio.create_task(self.stopping.wait())
        try:
            while True:
                coming = asyncio.ensure_future(anext(body, None))
                done, _ = await asyncio.wait(
                    {coming, stopped},
                    timeout=SILENCE_S * self.plan.pace,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if coming not in done:
                    coming.cancel()
                    return "ok" if stopped in done else "timeout"
                piece = coming.result()
                if piece is None:
                    return "ok" if last_type == LAST_EVENT else f"ended after {last_type}"
                rest += piece
                *whole, rest = rest.split(b"\n\n")
                for event in whole:
                    lines = [line.partition(b": ") for line in event.splitlines()]
                    named = {bytes(name): value.decode() for name, _, value in lines}
                    if b"id" not in named:
                        continue
                    if int(named[b"id"]) <= last_seq:
                        return "events out of order"
                    last_seq, last_type = int(named[b"id"]), named.get(b"event", "")
                    happened = datetime.fromisoformat(json.loads(named[b"data"])["at"]).timestamp()
                    if happened > opened and len(self._delays) < MOST_DELAYS:
                        self._delays.append(max(0.0, time.time() - happened - self.lag_s()))
        finally:
            self.open -= 1
            stopped.cancel()


class Tricklers(Crowd):
    """Each sends a body a byte a second until it is answered or hung up on; two of four have no key."""

    async def act(self, i: int) -> None:
        """Trickle until `stopping`."""
        learner = self.plan.learners[0]
        image, form = "image/png", "application/x-www-form-urlencoded"
        what, path, headers = (
            ("slow, with a key", f"/v1/learners/{learner}/predictions", self.key(i)),
            ("slow, no key", f"/v1/learners/{learner}/predictions", {}),
            ("slow upload, with a key", f"/v1/learners/{learner}/tasks", self.key(i)),
            ("slow login, no key", "/admin/login", {}),
        )[i % 4]
        kind = {"/admin/login": form}.get(path, image)
        if path.endswith("tasks"):
            kind = "application/zip"
        sent = head(
            "POST", path, {**headers, "Content-Type": kind, "Content-Length": str(DECLARED)}
        )
        while not self.stopping.is_set():
            await self._trickle(what, sent)
            await self.rest(BETWEEN_S * self.random.uniform(0.5, 1.5))

    async def _trickle(self, what: str, sent: bytes) -> None:
        began, status, outcome = time.monotonic(), 0, "closed"
        connection = self.connection()
        self.open += 1
        try:
            status, outcome = await self._until_answered(connection, sent)
        except FAILURES:
            outcome = "closed"
        self.open -= 1
        connection.close()
        self.note(what, began, status, outcome)

    async def _until_answered(self, connection: Connection, sent: bytes) -> tuple[int, str]:
        reader, writer = await connection.open()
        writer.write(sent)
        answer = asyncio.create_task(read_head(reader))
        try:
            while not self.stopping.is_set():
                done, _ = await asyncio.wait({answer}, timeout=1.0)
                if answer in done:
                    reply = answer.result()
                    is_honest = reply.status < 500 or reply.is_refusal
                    return reply.status, "ok" if is_honest else f"{reply.status}, not honest"
                writer.write(b"a")
                await writer.drain()
        finally:
            answer.cancel()
        return 0, "held"
