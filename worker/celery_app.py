"""The worker of a cluster: Celery listens for the doorbell, one pool process claims tasks and supervises them.

Celery's main process only passes messages on and starts the pool process again when it dies. The pool process is the
worker: it holds the lock of the worker's name, says that it lives, rings for tasks that nobody took up, and runs one
learn process at a time. Neither imports torch.
"""

import os
import signal
import threading
import time
from contextlib import ExitStack
from typing import Any

import billiard
import structlog
from celery import Celery, signals
from celery.exceptions import WorkerShutdown

from registry.doorbell import LEARN_TASK, Bell, Sweeper, celery_settings
from registry.errors import DatabaseUnavailableError
from registry.logs import configure_logging
from registry.loops import SteadyThread
from registry.postgres.database import make_engine, make_session_factory
from registry.postgres.lifeline import die_with_parent
from worker.broker import use_sturdy_transport
from worker.local import learn_next
from worker.presence import Presence
from worker.settings import WorkerSettings
from worker.single_worker import single_worker_lock
from worker.standby import LearnProcesses

log = structlog.get_logger()

ARRIVAL_S = 10.0
"""How long a ring waits for a worker that has just started."""
STOP_LOOK_S = 0.2
MOST_PAUSE_S = 2.0
"""Longest until a thread whose work an error broke off goes on."""


class PoolProcess:
    """What lives in Celery's one pool process, between its start and its end."""

    def __init__(self, settings: WorkerSettings, bell: Bell, stopping: Any) -> None:
        self._settings = settings
        self._stopping = stopping
        self._lock = ExitStack()
        engine = make_engine(settings.require_database_url(), application_name="filopodia-worker")
        self._sessions = make_session_factory(engine)
        self._presence = Presence(settings, self._sessions, "celery")
        self._sweeper = Sweeper(self._sessions, bell, every_s=settings.ring_s)
        self._stop = threading.Event()
        self._processes = LearnProcesses(settings)
        self._slot = threading.Lock()
        """Held while learning: by whoever heard the bell, or by the patrol."""

    def start(self) -> None:
        """Become the worker. Connects in the background: Celery gives a pool process four seconds to start."""
        for name, work in (
            ("arrival", self._arrive),
            ("stop", self._pass_stop_on),
            ("patrol", self._patrol),
        ):
            SteadyThread(name, work, most_pause_s=MOST_PAUSE_S).start()

    def hear(self, task_id: str) -> None:
        """Learn the task that was rung for, then all else that can be claimed; nothing if nothing can be."""
        if self._presence.arrived.wait(ARRIVAL_S):
            with self._slot:
                self._learn_all(task_id)

    def _learn_all(self, task_id: str | None = None) -> None:
        try:
            if task_id is not None:
                self._learn_next(task_id)
            while not self._stop.is_set() and self._learn_next():
                pass
        except DatabaseUnavailableError:
            log.warning("database_unavailable")
        if not self._stop.is_set():
            self._processes.keep_ready()

    def _learn_next(self, task_id: str | None = None) -> bool:
        return learn_next(self._settings, self._sessions, self._stop, self._processes, task_id)

    def _patrol(self) -> None:
        """Look for tasks now and then without being told: learning must go on without Redis."""
        self._presence.arrived.wait()
        with self._slot:
            self._processes.keep_ready()
        while not self._stop.wait(self._settings.ring_s):
            if self._slot.acquire(blocking=False):
                try:
                    self._learn_all()
                finally:
                    self._slot.release()
        with self._slot:
            self._processes.close()

    def _arrive(self) -> None:
        try:
            self._lock.enter_context(single_worker_lock(self._settings))
        except BlockingIOError:
            log.error("worker_id_in_use", worker_id=self._settings.worker_id)
            os.kill(os.getppid(), signal.SIGTERM)
            return
        self._presence.start()
        self._presence.arrived.wait()
        self._sweeper.start()

    def _pass_stop_on(self) -> None:
        while not self._stopping.value:
            time.sleep(STOP_LOOK_S)
        self._stop.set()
        self._sweeper.stop()
        self._presence.stop()


def make_app(settings: WorkerSettings) -> Celery:
    """Build the Celery app of a worker.

    Raises:
        ValueError: If `REDIS_URL` or `DATABASE_URL` is missing.
    """
    redis_url = settings.redis_dsn()
    if redis_url is None:
        raise ValueError("A Celery worker needs REDIS_URL; without it, run python -m worker.local.")
    settings.require_database_url()
    use_sturdy_transport()
    app = Celery("filopodia", set_as_current=False)
    app.conf.update(celery_settings(redis_url))
    # Made before the fork: the one thing that both processes see. Without a lock, which a killed process would keep.
    stopping = billiard.RawValue("b", 0)
    here: list[PoolProcess] = []

    def learn(*arguments: object, **_: object) -> None:
        """Hear a ring. Its argument may be anything: whoever reaches Redis can ring."""
        task_id = str(arguments[0])[:64] if arguments else ""
        if task_id.isprintable():
            here[0].hear(task_id)

    app.task(learn, name=LEARN_TASK)

    def on_pool_start(**_: object) -> None:
        # Whatever ends the main process ends this one, and with it the learn process.
        die_with_parent(signal.SIGKILL, os.getppid())
        configure_logging()
        here[:] = [PoolProcess(settings, Bell(app, redis_url), stopping)]
        here[0].start()

    def on_stop(**_: object) -> None:
        stopping.value = 1

    signals.worker_process_init.connect(on_pool_start, weak=False)
    signals.worker_shutting_down.connect(on_stop, weak=False)
    # We log as everywhere else.
    signals.setup_logging.connect(lambda **_: None, weak=False)
    return app


def listen(settings: WorkerSettings) -> int:
    """Run the worker until `SIGTERM` or `SIGINT`. Returns the exit code.

    Raises:
        ValueError: If `REDIS_URL` or `DATABASE_URL` is missing.
    """
    configure_logging()
    options = ["--pool=prefork", "--concurrency=1", "--loglevel=WARNING"]
    options += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    try:
        make_app(settings).worker_main(
            ["--quiet", "worker", *options, f"--hostname={settings.worker_id}@%h"]
        )
    except (SystemExit, WorkerShutdown) as ended:
        return int(getattr(ended, "code", 0) or 0)
    return 0
