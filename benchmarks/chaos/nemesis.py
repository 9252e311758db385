"""The one who makes things go wrong: kills, freezes, empties, forges and fills, one fault after another."""

import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis
import structlog
from celery import Celery
from kombu.exceptions import OperationalError

from benchmarks.chaos.clients import ClientRecord, SlowPrediction
from benchmarks.chaos.cluster import LEASE_S, Cluster
from benchmarks.chaos.power import PowerCuts
from benchmarks.chaos.programs import STARTS, Program
from benchmarks.chaos.schedule import Fault
from benchmarks.chaos.system import descendants, send
from registry.blobs.store import LocalBlobStore
from registry.doorbell import LEARN_TASK, PREFIX, QUEUE, celery_settings

log = structlog.get_logger()

Strike = dict[str, Any] | None
"""What was struck, for the report; None if there is nothing to strike at right now."""

LOOK_S = 0.05
MAX_ARMED = 3
ARMED_S = 25.0
"""A place that nobody comes to for so long is tried again later."""
PAUSE_S = 2.5 * LEASE_S
FREEZE_S = 2 * LEASE_S
"""Redis or PostgreSQL: longer than any lease."""
AFTERMATH_S = 5.0
"""How long after a fault its effects are looked for."""
QUEUE_KEY = f"{PREFIX}{QUEUE}"
JUNK = (
    b"not json",
    b"",
    b"{}",
    b"[]",
    b'{"body": 1}',
    b"\xff\xfe\x00",
    b'{"body": "e30=", "headers": {}}',
)
N_SLOW, SLOW_S = 3, 1.5
"""Requests that are under way when an api is asked to stop, and how long their bodies take."""
UNKNOWN_TASK = "tsk_00000000000000000000000000"


@dataclass
class InjectedFault:
    """A fault that took place."""

    fault: Fault
    at: float
    """Seconds since 1970."""
    until: float
    """When what was broken on purpose was mended again."""
    kills: int = 0
    details: dict[str, Any] = field(default_factory=dict)


class Nemesis:
    """Carries out a schedule against a cluster.

    Args:
        cluster: Running.
        record: Knows of tasks to forge messages for.
        learner: One that can be asked for predictions.
        cuts: Where power cuts go.
        seed: Of the choices that are left when a fault strikes.
    """

    def __init__(
        self, cluster: Cluster, record: ClientRecord, learner: str, cuts: PowerCuts, *, seed: int
    ) -> None:
        self.struck: list[InjectedFault] = []
        self.pending: list[Fault] = []
        self._cluster = cluster
        self._client_record = record
        self._learner = learner
        self._cuts = cuts
        self._random = random.Random(seed)
        self._armed: dict[Path, InjectedFault] = {}
        self._commands: list[subprocess.Popen[str]] = []
        self._thaws: list[threading.Timer] = []
        self._redis_frozen_until = 0.0
        self._celery = Celery("chaos", set_as_current=False)
        self._celery.conf.update(celery_settings(cluster.redis_url))

    @property
    def kills(self) -> int:
        """How many processes were killed with SIGKILL so far, by us or at a failpoint."""
        return sum(struck.kills for struck in self.struck)

    def run(self, faults: Sequence[Fault], *, seconds: float, extra_s: float) -> None:
        """Strike with all faults, evenly over the time; those that find nothing to strike at are left in `pending`."""
        self.pending = list(faults)
        gap_s = seconds / max(1, len(faults))
        deadline = time.monotonic() + seconds + extra_s
        for pause_s in self._pauses(gap_s):
            wait_until = min(deadline, time.monotonic() + pause_s)
            while time.monotonic() < wait_until:
                self._look_after()
                time.sleep(LOOK_S)
            if time.monotonic() >= deadline or not (self.pending or self._armed):
                break
            self._strike_one()
        for file in list(self._armed):
            self._disarm(file)
        for thaw in self._thaws:
            thaw.join()
        for command in self._commands:
            command.communicate()

    def _pauses(self, gap_s: float) -> Iterator[float]:
        while True:
            yield gap_s * self._random.uniform(0.4, 1.6)

    def _strike_one(self) -> None:
        # Apis take longest to come back, so whenever one may end, one does, by what has struck least.
        struck = Counter(one.fault.label for one in self.struck)
        for fault in sorted(
            self.pending, key=lambda f: (0, struck[f.label]) if f.ends_an_api else (1, 0)
        ):
            if fault.ends_an_api and not self._may_end_api():
                continue
            at = time.time()
            details = self._arm(fault) if fault.side else getattr(self, fault.verb)()
            if details is None:
                continue
            self.pending.remove(fault)
            one = InjectedFault(fault, at, time.time(), details.pop("kills", 0), details)
            one.until += details.pop("heal_after_s", 0.0)
            if fault.side:
                self._armed[self._file(fault)] = one
            else:
                self._record(one)
            return

    def _record(self, struck: InjectedFault) -> None:
        self.struck.append(struck)
        log.info("fault", what=struck.fault.label, kills=self.kills, left=len(self.pending))

    def _look_after(self) -> None:
        """Notice what has struck."""
        for file, struck in list(self._armed.items()):
            if not file.exists():
                self._note_struck(self._armed.pop(file))
            elif time.time() - struck.at > ARMED_S:
                self._disarm(file)

    def _note_struck(self, struck: InjectedFault) -> None:
        struck.at = struck.until = time.time()
        struck.kills += struck.fault.action == "kill"
        self._record(struck)

    def _disarm(self, file: Path) -> None:
        struck = self._armed.pop(file)
        try:
            file.unlink()
        except FileNotFoundError:
            self._note_struck(struck)
        else:
            self.pending.append(struck.fault)

    def _file(self, fault: Fault) -> Path:
        return self._cluster.armed / fault.side / fault.place

    def _arm(self, fault: Fault) -> Strike:
        """Arm a failpoint; whoever comes there first is struck. Some places need a reason to come there."""
        file = self._file(fault)
        if file in self._armed or len(self._armed) >= MAX_ARMED:
            return None
        provoke = self._provocations.get(fault.place.partition(".")[0], dict)
        unfinished = file.with_suffix(".new")
        unfinished.write_text(fault.action)
        unfinished.rename(file)
        details = provoke()
        if details is None:
            file.unlink(missing_ok=True)
        return details

    @property
    def _provocations(self) -> dict[str, Callable[[], Strike]]:
        # Only an attempt that has ended badly is settled by its supervisor.
        return {"settle": self.kill_learn, "collect": self._collect}

    def _collect(self) -> Strike:
        """Have an operator collect a blob that nothing has named for two days."""
        if not self._is_database_up():
            return None
        store = LocalBlobStore(self._cluster.blobs)
        sha256 = store.put(self._random.randbytes(64))
        old = time.time() - 2 * 24 * 3600
        os.utime(self._cluster.blobs / "sha256" / sha256[:2] / sha256[2:], (old, old))
        self._commands.append(self._cluster.begin_command("doctor", "--collect"))
        return {}

    def kill_api(self) -> Strike:
        """Kill one api while the other is up."""
        return self._kill(self._random.choice(self._cluster.apis))

    def kill_worker(self) -> Strike:
        """Kill the main process of a worker, rather one that learns."""
        worker = self._some_worker()
        if worker is None:
            return None
        tasks = list(self._cluster.learn_processes(worker).values())
        return {**(self._kill(worker) or {}), "tasks": tasks}

    def kill_workers(self) -> Strike:
        """Kill both workers at once, while one learns: nobody is left to take over until they come back."""
        if self._some_worker(is_learning=True) is None:
            return None
        tasks = list(self._cluster.learn_processes().values())
        ready = [worker for worker in self._cluster.workers if worker.is_ready]
        struck = [self._kill(worker) for worker in ready]
        kills = sum(one is not None for one in struck)
        return {"kills": kills, "target": "both", "tasks": tasks} if kills == len(struck) else None

    def kill_pool(self) -> Strike:
        """Kill the pool process of a worker, which holds its lease and its learn process."""
        worker = self._some_worker()
        if worker is None:
            return None
        tasks = list(self._cluster.learn_processes(worker).values())
        killed = send(signal.SIGKILL, *self._cluster.pool_processes(worker)[:1])
        return {"kills": 1, "target": worker.name, "tasks": tasks} if killed else None

    def kill_learn(self) -> Strike:
        """Kill a learn process."""
        learning = self._cluster.learn_processes()
        if not learning:
            return None
        pid = self._random.choice(sorted(learning))
        killed = send(signal.SIGKILL, pid)
        return {"kills": 1, "tasks": [learning[pid]]} if killed else None

    def kill_redis(self) -> Strike:
        """Kill Redis."""
        return self._kill(self._cluster.redis) if self._is_redis_up() else None

    def kill_backend(self) -> Strike:
        """Kill the PostgreSQL process of one connection, which makes the server throw out all others and recover."""
        backends = self._cluster.backends() if self._is_database_up() else []
        if not backends:
            return None
        return {"kills": len(send(signal.SIGKILL, self._random.choice(backends)))}

    def kill_postmaster(self) -> Strike:
        """Kill PostgreSQL's main process; the others notice and end."""
        return self._kill(self._cluster.postgres) if self._is_database_up() else None

    def pause_worker(self) -> Strike:
        """Freeze a worker and its learn process for longer than its lease: others take over, then it wakes up."""
        worker = self._some_worker(is_learning=True)
        lifetime = worker.current if worker else None
        if worker is None or lifetime is None:
            return None
        tasks = list(self._cluster.learn_processes(worker).values())
        pids = [lifetime.pid, *descendants(lifetime.pid)]
        return {**self._freeze(pids, PAUSE_S), "target": worker.name, "tasks": tasks}

    def freeze_redis(self) -> Strike:
        """Freeze Redis: it neither answers nor refuses."""
        lifetime = self._cluster.redis.current
        if lifetime is None or not self._is_redis_up():
            return None
        self._redis_frozen_until = time.monotonic() + FREEZE_S
        return self._freeze([lifetime.pid], FREEZE_S)

    def freeze_postgres(self) -> Strike:
        """Freeze all of PostgreSQL: it neither answers nor refuses."""
        if not self._is_database_up():
            return None
        return self._freeze(self._cluster.postgres_processes(), FREEZE_S)

    def power_cut(self) -> Strike:
        """Take what would be on the disks if the power went now; everything goes on a moment later."""
        return self._cuts.cut()

    def flush_redis(self) -> Strike:
        """Empty Redis."""
        return self._with_redis(lambda client: client.flushall())

    def junk_messages(self) -> Strike:
        """Push messages into the queue that no sender of ours makes."""

        def push(client: redis.Redis) -> None:
            client.lpush(QUEUE_KEY, *JUNK)

        if self._with_redis(push) is None:
            return None
        self._send("filopodia.unknown", UNKNOWN_TASK)
        self._send(LEARN_TASK, UNKNOWN_TASK)
        self._send(LEARN_TASK, "", "'; DROP TABLE tasks; --")
        return {"messages": len(JUNK) + 3}

    def repeat_message(self) -> Strike:
        """Ring ten times for a task that is being learned, or waits."""
        tasks = self._client_record.unfinished()
        if not tasks or not self._is_redis_up():
            return None
        for _ in range(10):
            self._send(LEARN_TASK, tasks[0])
        return {"tasks": [tasks[0]]}

    def stop_api(self) -> Strike:
        """Ask one api to stop while requests are under way, half of whose bodies it has."""
        api = self._random.choice(self._cluster.apis)
        url = self._cluster.api_urls[api.name]
        slow = [
            SlowPrediction(url, self._cluster.key, self._learner, seconds=SLOW_S)
            for _ in range(N_SLOW)
        ]
        for request in slow:
            request.start()
        for request in slow:
            request.accepted.wait(SLOW_S)
        api.signal(signal.SIGTERM)
        for request in slow:
            request.join()
        return {"target": api.name, "under_way": [request.outcome for request in slow]}

    def stop_worker(self) -> Strike:
        """Ask a worker to stop, rather one that learns."""
        worker = self._some_worker()
        if worker is None:
            return None
        worker.signal(signal.SIGTERM)
        return {"target": worker.name}

    def _kill(self, program: Program) -> Strike:
        lifetime = program.signal(signal.SIGKILL)
        return {"kills": 1, "target": program.name} if lifetime else None

    def _freeze(self, pids: Sequence[int], seconds: float) -> dict[str, Any]:
        frozen = send(signal.SIGSTOP, *pids)
        # What was frozen first, the parent, goes on last: it must not find its children dead or dumb.
        thaw = threading.Timer(seconds, _let_go_on, (list(reversed(frozen)),))
        thaw.daemon = True
        thaw.start()
        self._thaws.append(thaw)
        return {"heal_after_s": seconds}

    def _some_worker(self, *, is_learning: bool = False) -> Program | None:
        ready = [worker for worker in self._cluster.workers if worker.is_ready]
        busy = [worker for worker in ready if self._cluster.learn_processes(worker)]
        choice = busy or ([] if is_learning else ready)
        return self._random.choice(choice) if choice else None

    def _may_end_api(self) -> bool:
        is_awaited = any(struck.fault.ends_an_api for struck in self._armed.values())
        return not is_awaited and all(api.is_ready for api in self._cluster.apis)

    def _is_database_up(self) -> bool:
        seen = self._cluster.database_seen
        return self._cluster.postgres.is_ready and bool(seen) and time.time() - seen[-1] < 1

    def _is_redis_up(self) -> bool:
        return self._cluster.redis.is_ready and time.monotonic() > self._redis_frozen_until

    def _with_redis(self, act: Callable[[redis.Redis], object]) -> Strike:
        if not self._is_redis_up():
            return None
        try:
            with redis.Redis(port=self._cluster.redis_port, socket_timeout=2) as client:
                act(client)
        except redis.RedisError:
            return None
        return {}

    def _send(self, name: str, *arguments: str) -> None:
        with suppress(OperationalError, redis.RedisError, OSError):
            self._celery.send_task(name, args=list(arguments), retry=False, ignore_result=True)


def _let_go_on(pids: Sequence[int]) -> None:
    with STARTS:
        send(signal.SIGCONT, *pids)
