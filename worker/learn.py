"""The learn process: `python -m worker.learn TASK TOKEN`. One attempt at one task, in a process of its own.

Exit code 0 says that the row tells how it ended; any other leaves that to the supervisor. `SIGTERM` asks for one more
checkpoint and the end.
"""

import argparse
import os
import signal
import threading

import structlog

from registry.blobs.opening import open_blob_store
from registry.logs import configure_logging
from registry.postgres.database import make_engine, make_session_factory
from registry.postgres.lifeline import die_with_parent
from registry.streams import settle
from worker import priority
from worker.attempts import run_attempt
from worker.settings import WorkerSettings

NICENESS = 10
"""Predictions go first where service and worker share a processor. Chosen, untested."""
STATEMENT_TIMEOUT_S = 60.0


def main() -> int:
    """Run one attempt and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m worker.learn")
    parser.add_argument("task_id")
    parser.add_argument("token", type=int)
    parser.add_argument("--step-back", action="store_true", help="let everything else go first")
    arguments = parser.parse_args()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: _stop(stop, has_stepped_back=arguments.step_back))
    die_with_parent(signal.SIGKILL, os.getppid())
    os.nice(NICENESS)
    configure_logging()
    structlog.contextvars.bind_contextvars(task_id=arguments.task_id, token=arguments.token)
    settings = WorkerSettings.read()
    if arguments.step_back:
        priority.step_back(settings)
    engine = make_engine(
        settings.require_database_url(),
        application_name="filopodia-learn",
        statement_timeout_s=STATEMENT_TIMEOUT_S,
    )
    return run_attempt(
        arguments.task_id,
        arguments.token,
        session_factory=make_session_factory(engine),
        blobs=open_blob_store(settings.blob_location),
        settings=settings,
        stop=stop,
    )


def _stop(stop: threading.Event, *, has_stepped_back: bool) -> None:
    stop.set()
    if has_stepped_back:  # somebody waits for its checkpoint
        priority.step_forward()


if __name__ == "__main__":
    exit_code = main()
    settle()
    # Nothing is left to clean up, and taking torch down takes a second in which the next task could start.
    os._exit(exit_code)
