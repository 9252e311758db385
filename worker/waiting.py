"""A learn process that waits: torch and a backbone loaded, no connection held, and no processor time used.

It runs the attempts that its worker hands over, one after the other. After one that went well it waits again; after any
other, or when its memory has grown, it ends, and the worker starts a new one.
"""

import gc
import os
import random
import signal
import socket
import threading
from contextlib import suppress

import numpy as np
import structlog
import torch

from registry.blobs.opening import open_blob_store
from registry.blobs.store import BlobStore
from registry.recent import recent_learner
from worker import memory, priority
from worker.attempt import AttemptContext
from worker.attempts import Ended, make_attempt
from worker.handover import ENDED, READY, TAKEN, Line
from worker.settings import WorkerSettings
from worker.title import Title
from worker.transactions import Connections
from worker.warm import Warm

log = structlog.get_logger()

MOST_ATTEMPTS = 50
"""That one process runs. What leaks a little must not leak for ever."""
QUIET_S = 2.0
"""After an attempt, until what it does not need while it waits is let go: a task that comes at once would need it."""
KEEP_LEARNER_S = 600.0
"""How long a learner that no task asks for is kept in memory."""


def wait(settings: WorkerSettings) -> int:
    """Wait for attempts on standard input and run them. Returns the exit code: that of the last attempt."""
    return _Waiting(settings, Line(_take_standard_input())).run()


class _Waiting:
    def __init__(self, settings: WorkerSettings, line: Line) -> None:
        self._settings = settings
        self._line = line
        self._stop = threading.Event()
        self._blobs: BlobStore = open_blob_store(settings.blob_location)
        self._connections = Connections(settings)
        self._warm = Warm(settings)
        self._title = Title()
        self._random = (random.getstate(), np.random.get_state(), torch.get_rng_state())

    def run(self) -> int:
        """See `wait`."""
        if not self._line.is_spoken_to():
            self._warm_up()
        gc.collect()
        gc.freeze()
        memory.give_back()
        memory.let_go_of_files()
        with suppress(OSError):  # the worker has gone: so it is heard
            self._line.say(READY)
        for n in range(1, MOST_ATTEMPTS + 1):
            try:
                task_id, token = self._line.hear_for_ever() if n == 1 else self._hear_next()
                self._take(task_id, token)
            except (EOFError, OSError):  # the worker has gone, and the task is not its any more
                return 0
            ended = self._run(task_id, int(token))
            if self._stop.is_set() or not ended.well or n == MOST_ATTEMPTS or self._is_too_large():
                return ended.exit_code
            self._title.show()
            with suppress(OSError):
                self._line.say(ENDED, ended.exit_code)
        raise AssertionError("The last attempt ends the process.")

    def _hear_next(self) -> list[str]:
        """Return the words of the next attempt; what is not needed to wait for it is let go, the longer the more."""
        words = self._line.hear(QUIET_S)
        if words is None:
            memory.let_go_of_files()
            words = self._line.hear(KEEP_LEARNER_S)
        if words is None:
            self._warm.forget_learner()
            memory.give_back()
            words = self._line.hear_for_ever()
        return words

    def _take(self, task_id: str, token: str) -> None:
        # Until here, and again from the end on, `SIGTERM` ends the process: it has nothing to write.
        signal.signal(signal.SIGTERM, self._end)
        self._title.show(task_id, token)
        self._line.say(TAKEN)

    def _end(self, *_: object) -> None:
        self._stop.set()
        priority.step_forward()  # somebody waits for its checkpoint

    def _run(self, task_id: str, token: int) -> Ended:
        self._forget_random()
        try:
            with (
                structlog.contextvars.bound_contextvars(task_id=task_id, token=token),
                self._connections.opened() as session_factory,
            ):
                context = AttemptContext(
                    session_factory, self._blobs, self._settings, self._stop, self._warm
                )
                return make_attempt(task_id, token, context)
        finally:
            memory.give_back()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _forget_random(self) -> None:
        """Begin where a new process would: nothing is drawn from here that should decide anything, but who knows."""
        python, numpy, pytorch = self._random
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(pytorch)

    def _is_too_large(self) -> bool:
        return memory.own_bytes() > self._settings.learn_process_mb << 20

    def _warm_up(self) -> None:
        """Load the backbone that the next task is likely to need, and let it take a step."""
        try:
            with self._connections.opened() as session_factory, session_factory() as session:
                learner = recent_learner(session)
            if learner is not None:
                backbone = self._warm.backbone(learner.backbone)
                size = backbone.image_size
                backbone.embed(torch.zeros(1, 3, size, size, dtype=torch.uint8))
        except Exception as error:  # noqa: BLE001 (an attempt that needs it will say what is wrong)
            log.info("not_warmed_up", reason=str(error))


def _take_standard_input() -> socket.socket:
    """Return the socket that standard input is, and leave nothing there."""
    end = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return end
