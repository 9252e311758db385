"""One worker a name: two of the same would take each other's tasks for left behind."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager

from worker.settings import WorkerSettings


@contextmanager
def single_worker_lock(settings: WorkerSettings) -> Iterator[None]:
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
