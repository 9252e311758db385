"""The embedded supervisor: `python -m worker.local` polls the registry and learns, without a broker."""

import fcntl
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager

import structlog
from sqlalchemy.orm import Session, sessionmaker

from registry import queue
from registry.database import make_engine, make_session_factory
from registry.errors import DatabaseUnavailableError
from registry.lifeline import die_with_parent
from worker.logs import configure_logging
from worker.settings import WorkerSettings
from worker.supervisor import supervise

log = structlog.get_logger()

OUTAGE_PAUSE_S = 2.0


def main() -> int:
    """Run the worker until `SIGTERM` or `SIGINT`, or until its parent dies. Returns the exit code."""
    die_with_parent(signal.SIGKILL, os.getppid())
    configure_logging()
    settings = WorkerSettings()
    stop = threading.Event()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_number, lambda *_: stop.set())
    try:
        with _sole_worker(settings):
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
    _take_over(settings.worker_id, session_factory, stop)
    with ThreadPoolExecutor(settings.slots) as slots:
        running = [
            slots.submit(_work, settings, session_factory, stop) for _ in range(settings.slots)
        ]
        wait(running, return_when=FIRST_COMPLETED)
        # A slot that broke takes the others with it; whoever started the worker starts it again.
        stop.set()
    engine.dispose()
    log.info("worker_stopped", worker_id=settings.worker_id)
    for slot in running:
        slot.result()


def _take_over(
    worker_id: str, session_factory: sessionmaker[Session], stop: threading.Event
) -> None:
    while not stop.is_set():
        try:
            with session_factory.begin() as session:
                n = queue.release_leases(session, worker_id)
        except DatabaseUnavailableError:
            log.warning("database_unavailable")
            stop.wait(OUTAGE_PAUSE_S)
        else:
            if n:
                log.warning("leases_of_predecessor_released", n=n)
            return


def _work(
    settings: WorkerSettings, session_factory: sessionmaker[Session], stop: threading.Event
) -> None:
    while not stop.is_set():
        try:
            with session_factory.begin() as session:
                claimed = queue.claim_next(session, settings.worker_id, settings.lease_s)
        except DatabaseUnavailableError:
            log.warning("database_unavailable")
            stop.wait(OUTAGE_PAUSE_S)
            continue
        if claimed is None:
            stop.wait(settings.poll_s)
        else:
            supervise(claimed, session_factory=session_factory, settings=settings, stop=stop)


@contextmanager
def _sole_worker(settings: WorkerSettings) -> Iterator[None]:
    """Hold the lock of this worker's name in the data directory. Waits as long as a predecessor may take to stop.

    Raises:
        BlockingIOError: If another worker has the same name and does not go away.
    """
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + settings.stop_grace_s
    with (settings.data_dir / f"worker-{settings.worker_id}.lock").open("ab") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        yield


if __name__ == "__main__":
    sys.exit(main())
