"""The learn process: `python -m worker.learn TASK TOKEN`. One attempt at one task, in a process of its own.

Exit code 0 says that the row tells how it ended; any other leaves that to the supervisor. `SIGTERM` asks for one more
checkpoint and the end. `python -m worker.learn --wait` waits for attempts to be handed over: see `worker.waiting`.
"""

import argparse
import gc
import os
import signal
import threading

import structlog

from registry.blobs.opening import open_blob_store
from registry.logs import configure_logging
from registry.postgres.lifeline import die_with_parent
from registry.streams import settle
from worker import priority
from worker.settings import WorkerSettings
from worker.title import WAIT
from worker.transactions import Connections


def main() -> int:
    """Run one attempt, or those that are handed over, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m worker.learn")
    parser.add_argument("task_id", nargs="?")
    parser.add_argument("token", type=int, nargs="?")
    parser.add_argument("--step-back", action="store_true", help="let everything else go first")
    parser.add_argument(WAIT, metavar="ROOM", help="wait; keeps room to show what is learned")
    arguments = parser.parse_args()
    if arguments.wait is None and arguments.token is None:
        parser.error("name a task and its token, or wait for them")
    die_with_parent(signal.SIGKILL, os.getppid())
    priority.stand_back()
    configure_logging()
    settings = WorkerSettings.read()
    return _wait(settings) if arguments.wait is not None else _learn(arguments, settings)


# Torch takes seconds to load: not before this process stands back, and dies with its worker. And without looking again
# and again through what the libraries make, which takes a second of them.


def _wait(settings: WorkerSettings) -> int:
    gc.disable()
    from worker.waiting import wait

    gc.enable()
    return wait(settings)


def _learn(arguments: argparse.Namespace, settings: WorkerSettings) -> int:
    gc.disable()
    from worker.attempts import run_attempt

    gc.enable()
    stop = threading.Event()

    def end(*_: object) -> None:
        stop.set()
        priority.step_forward()  # somebody waits for its checkpoint

    signal.signal(signal.SIGTERM, end)
    if arguments.step_back:
        priority.step_back()
        settings = priority.sparing_a_core(settings)
    structlog.contextvars.bind_contextvars(task_id=arguments.task_id, token=arguments.token)
    with Connections(settings).opened() as session_factory:
        return run_attempt(
            arguments.task_id,
            arguments.token,
            session_factory=session_factory,
            blobs=open_blob_store(settings.blob_location),
            settings=settings,
            stop=stop,
        )


if __name__ == "__main__":
    exit_code = main()
    settle()
    # Nothing is left to clean up, and taking torch down takes a second in which the next task could start.
    os._exit(exit_code)
