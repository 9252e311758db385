"""Supervises one attempt: has a learn process do it, keeps the lease, stops it, and settles what it leaves open.

Never imports torch: it stays small and alive when learning runs out of memory. Signals go to the learn process's whole
group, so loader processes end with it.
"""

import math
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import structlog

from registry import checkpoints, queue, time_limits
from registry.blobs.opening import open_blob_store
from registry.errors import DatabaseUnavailableError, FencedError, RegistryError
from registry.failpoints import failpoint
from registry.postgres.database import Session, Sessions
from registry.queue import ClaimedTask
from worker.learn_process import RunningAttempt
from worker.settings import WorkerSettings
from worker.standby import LearnProcesses
from worker.transactions import retry_transaction

log = structlog.get_logger()

StopReason = Literal["cancel", "lost", "stop", "time-limit", "yield"]
Settle = Callable[[Session], object]

WAIT_S = 0.2
"""Longest a stop request goes unnoticed."""
YIELD_LOOK_S = 0.5
"""Longest until a consolidation is put down once a task waits for it, besides the time that its checkpoint takes."""
YIELD_GRACE_S = 5.0
"""Longest that it may take to write the checkpoint. Killed then, it loses what it did since the one before."""
SETTLE_PATIENCE_S = 3.0
"""How long to go on settling while the database is away, once the worker is to stop."""


def supervise(
    claimed: ClaimedTask,
    *,
    session_factory: Sessions,
    settings: WorkerSettings,
    stop: threading.Event,
    processes: LearnProcesses | None = None,
) -> None:
    """Run one attempt at a claimed task until it has ended or is stopped. Takes as long as learning does.

    A cancel, a lost lease, the time limit and `stop` end the learn process. With `stop` it gets `stop_grace_s` to write
    a checkpoint, the task is given back and the attempt does not count; returns a few seconds after that. A
    consolidation that a task waits for is put down likewise, with less time.

    Args:
        claimed: What `registry.queue.claim_next` returned.
        session_factory: Sessions on the registry.
        settings: Of this worker; handed on to the learn process.
        stop: Set when the worker is to stop.
        processes: Where the learn process comes from, and waits afterwards. None: one is started, and ends.
    """
    logger = log.bind(task_id=claimed.id, token=claimed.token, attempt=claimed.attempt)
    oom_kills = _oom_kills()
    limit_s = _limit_s(claimed, session_factory, settings)
    processes = processes or LearnProcesses(settings, waits=False)
    try:
        apart = ["--step-back"] if claimed.is_consolidation else None
        attempt = processes.start(claimed.id, claimed.token, apart=apart)
    except OSError as error:  # no memory, or no process more: perhaps in a while
        logger.error("attempt_not_started", reason=str(error))
        _settle(
            _requeueing(claimed, f"No learn process could be started ({error.strerror})."),
            session_factory,
            stop,
        )
        return
    logger.info("attempt_started", pid=attempt.pid)
    try:
        reason = _watch(attempt, claimed, session_factory, settings, stop, limit_s)
        if reason is not None:
            attempt.stop(_grace_s(reason, settings))
    except BaseException:
        # Whatever it was: nobody would watch what goes on learning, and the slot takes up another task.
        attempt.stop(0.0)
        _settle(_requeueing(claimed, "The worker met an error of its own."), session_factory, stop)
        raise
    logger.info("attempt_process_ended", exit_code=attempt.exit_code, reason=reason)
    processes.take_back(attempt)
    was_oom = _oom_kills() > oom_kills
    settle = _settlement(claimed, reason, attempt.exit_code, was_oom, limit_s)
    if settle is not None:
        _settle(settle, session_factory, stop)
    if not stop.is_set():
        _clear_checkpoints(session_factory, settings)


def _limit_s(claimed: ClaimedTask, session_factory: Sessions, settings: WorkerSettings) -> float:
    """Return how long the attempt may take, in seconds: as the operator says, or as fits the task."""
    if settings.task_time_limit_s is not None:
        return settings.task_time_limit_s or math.inf
    try:
        with session_factory() as session:
            return time_limits.time_limit_s(session, claimed.id)
    except RegistryError:
        # The database has just gone away, or the task has.
        return time_limits.MOST_S


def _watch(
    attempt: RunningAttempt,
    claimed: ClaimedTask,
    session_factory: Sessions,
    settings: WorkerSettings,
    stop: threading.Event,
    limit_s: float,
) -> StopReason | None:
    """Wait for the learn process to end, or return why it has to be stopped."""
    started = time.monotonic()
    every_s = min(settings.heartbeat_s, YIELD_LOOK_S if claimed.is_consolidation else math.inf)
    next_beat = started + every_s
    while not attempt.has_ended(WAIT_S):
        now = time.monotonic()
        if stop.is_set():
            return "stop"
        if now - started > limit_s:
            return "time-limit"
        if now >= next_beat:
            next_beat = now + every_s
            answer = _beat(claimed, session_factory, settings.lease_s)
            if answer in ("cancel", "yield"):
                return answer
            if answer == "lost":
                # Usually it has just settled the row itself and is about to exit.
                return None if attempt.has_ended(settings.stop_grace_s) else "lost"
    return None


def _beat(claimed: ClaimedTask, session_factory: Sessions, lease_s: float) -> queue.HeartbeatAnswer:
    try:
        with session_factory.begin() as session:
            return queue.heartbeat(session, claimed.id, claimed.token, lease_s)
    except DatabaseUnavailableError:
        # Learning goes on: if another worker takes the task over meanwhile, the token keeps this attempt out.
        log.warning("heartbeat_failed", task_id=claimed.id)
        return "ok"


def _grace_s(reason: StopReason, settings: WorkerSettings) -> float:
    """Return how long the learn process may go on for a checkpoint."""
    if reason == "yield":
        return min(settings.stop_grace_s, YIELD_GRACE_S)
    return settings.stop_grace_s if reason == "stop" else 0.0


def _settlement(
    claimed: ClaimedTask,
    reason: StopReason | None,
    exit_code: int,
    was_oom: bool,
    limit_s: float,
) -> Settle | None:
    """Return the write that settles the task's row, or None if it needs none."""
    task_id, token = claimed.id, claimed.token
    if reason == "cancel":
        return lambda session: queue.finish_cancelled(session, task_id, token)
    if reason in ("stop", "yield"):
        return lambda session: queue.give_back(session, task_id, token)
    if reason == "time-limit":
        detail = (
            f"Learning took longer than the {limit_s:.10g} seconds allowed: post fewer images in one task or ask for "
            "fewer epochs, or have FILOPODIA_TASK_TIME_LIMIT_S of the worker raised."
        )
        return lambda session: queue.fail_task(session, task_id, token, "time-limit", detail)
    if reason == "lost" or exit_code == 0:
        return None
    if was_oom:
        detail = "The learn process was stopped because memory ran out."
        return _requeueing(claimed, detail, "out-of-memory")
    return _requeueing(claimed, f"The learn process ended unexpectedly ({_name(exit_code)}).")


def _requeueing(claimed: ClaimedTask, detail: str, code: str = "worker-lost") -> Settle:
    """Return the write that lets another attempt follow, or fails the task after the last one."""
    return lambda session: queue.requeue_task(session, claimed.id, claimed.token, code, detail)


def _settle(settle: Settle, session_factory: Sessions, stop: threading.Event) -> None:
    """Write once, however long the database is away; if the worker stops meanwhile, the lease runs out instead."""
    deadline = math.inf

    def may_go_on() -> bool:
        nonlocal deadline
        if stop.is_set():
            deadline = min(deadline, time.monotonic() + SETTLE_PATIENCE_S)
        return time.monotonic() < deadline

    def settle_here(session: Session) -> None:
        settle(session)
        failpoint("settle.before_commit")

    try:
        retry_transaction(session_factory, settle_here, may_go_on=may_go_on)
    except FencedError:
        # The learn process has settled it, or another worker has it.
        pass
    except DatabaseUnavailableError:
        log.warning("attempt_not_settled")


def _clear_checkpoints(session_factory: Sessions, settings: WorkerSettings) -> None:
    """Delete the checkpoints of tasks that have ended: this one's, and those of tasks cancelled in the queue."""
    try:
        blobs = open_blob_store(settings.blob_location)
        with session_factory.begin() as session:
            checkpoints.clear_ended(session, blobs.delete)
    except (RegistryError, OSError) as error:
        # The next attempt's end is early enough.
        log.warning("checkpoints_not_cleared", reason=str(error))


def _name(exit_code: int) -> str:
    return f"exit code {exit_code}" if exit_code >= 0 else f"signal {-exit_code}"


def _oom_kills() -> int:
    """Return how often the kernel has killed a process of our control group for memory; 0 where it does not say."""
    try:
        group = Path("/proc/self/cgroup").read_text().rpartition("::")[2].strip().lstrip("/")
        events = (Path("/sys/fs/cgroup") / group / "memory.events").read_text()
    except OSError:
        return 0
    counts = dict(line.split() for line in events.splitlines())
    return int(counts.get("oom_kill", 0))
