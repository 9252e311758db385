"""The embedded worker: `python -m worker.local` hears of tasks from the database, and learns, without a broker."""

import argparse
import os
import signal
import sys
import threading
from functools import partial

import structlog

from registry import queue
from registry.errors import DatabaseUnavailableError, SettingsError
from registry.failpoints import failpoint
from registry.logs import configure_logging
from registry.loops import SteadyThread
from registry.postgres.database import Sessions, make_engine, make_session_factory
from registry.postgres.lifeline import die_with_parent
from registry.postgres.listener import TASKS, Listener
from worker.presence import Presence
from worker.settings import WorkerSettings
from worker.single_worker import single_worker_lock
from worker.standby import LearnProcesses
from worker.supervisor import supervise

log = structlog.get_logger()

OUTAGE_PAUSE_S = 2.0
STOP_LOOK_S = 0.2


def main() -> int:
    """Run the worker until `SIGTERM` or `SIGINT`, or until its parent dies. Returns the exit code.

    That is `os.EX_CONFIG` if it cannot work with its settings, so that nobody starts it again with the same. Why is
    written to the file descriptor `--refusal-to`, if there is one, and else logged.
    """
    die_with_parent(signal.SIGKILL, os.getppid())
    parser = argparse.ArgumentParser(prog="worker.local")
    parser.add_argument("--refusal-to", type=int)
    refusal_to: int | None = parser.parse_args().refusal_to
    try:
        settings = WorkerSettings.read()
        settings.require_database_url()
    except (SettingsError, ValueError) as error:
        _refuse(str(error), refusal_to)
        return os.EX_CONFIG
    if refusal_to is not None:
        os.close(refusal_to)
    return run_alone(settings)


def _refuse(reason: str, to: int | None) -> None:
    if to is None:
        configure_logging()
        log.error("not_started", reason=reason)
        return
    with os.fdopen(to, "wb") as file:
        file.write(reason.encode())


def run_alone(settings: WorkerSettings) -> int:
    """Run the worker until `SIGTERM` or `SIGINT`. Returns the exit code."""
    configure_logging()
    stop = threading.Event()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_number, lambda *_: stop.set())
    try:
        with single_worker_lock(settings):
            run(settings, stop)
    except BlockingIOError:
        log.error("worker_id_in_use", worker_id=settings.worker_id)
        return 1
    return 0


def run(settings: WorkerSettings, stop: threading.Event) -> None:
    """Claim and learn tasks until `stop` is set; then give back what is being learned.

    Must be the only one with this `worker_id`: it takes over at once what a killed predecessor left.
    """
    engine = make_engine(settings.require_database_url(), application_name="filopodia-worker")
    session_factory = make_session_factory(engine)
    log.info("worker_started", worker_id=settings.worker_id, slots=settings.slots)
    presence = Presence(settings, session_factory, "local")
    presence.start()
    awake = [threading.Event() for _ in range(settings.slots)]
    slots = [
        SteadyThread(
            f"slot-{i + 1}",
            partial(_work, settings, session_factory, presence, stop, hears),
            most_pause_s=OUTAGE_PAUSE_S,
        )
        for i, hears in enumerate(awake)
    ]
    listener = Listener(session_factory, {TASKS: [hears.set for hears in awake]})
    listener.start()
    for slot in slots:
        slot.start()
    # Signals are handled between two looks.
    while not stop.wait(STOP_LOOK_S):
        pass
    listener.stop()
    for hears in awake:
        hears.set()
    for slot in slots:
        slot.join()
    presence.stop()
    engine.dispose()
    log.info("worker_stopped", worker_id=settings.worker_id)


def _work(
    settings: WorkerSettings,
    session_factory: Sessions,
    presence: Presence,
    stop: threading.Event,
    awake: threading.Event,
) -> None:
    with LearnProcesses(settings) as processes:
        while not stop.is_set():
            # Before the look: what is queued after it is heard after it.
            awake.clear()
            processes.keep_ready()
            if not presence.arrived.wait(settings.poll_s):
                continue
            try:
                has_learned = learn_next(settings, session_factory, stop, processes)
            except DatabaseUnavailableError:
                log.warning("database_unavailable")
                stop.wait(OUTAGE_PAUSE_S)
            else:
                if not has_learned and not stop.is_set():
                    awake.wait(settings.poll_s)


def learn_next(
    settings: WorkerSettings,
    session_factory: Sessions,
    stop: threading.Event,
    processes: LearnProcesses,
    task_id: str | None = None,
) -> bool:
    """Claim a task and learn it; return whether it, or if none is named any, may be learned now.

    Raises:
        DatabaseUnavailableError: If nothing could be claimed because the database is away.
    """
    with session_factory.begin() as session:
        if task_id is None:
            claimed = queue.claim_next(session, settings.worker_id, settings.lease_s)
        else:
            claimed = queue.claim(session, task_id, settings.worker_id, settings.lease_s)
        failpoint("claim.before_commit")
    if claimed is None:
        return False
    failpoint("claim.after_commit")
    supervise(
        claimed,
        session_factory=session_factory,
        settings=settings,
        stop=stop,
        processes=processes,
    )
    return True


if __name__ == "__main__":
    sys.exit(main())
