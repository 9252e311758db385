"""Named places in the code where a test can strike: kill the process, freeze it, fail, or wait.

A test sets `FILOPODIA_FAILPOINTS` to a folder and writes a file there, named after the place, that holds an action and,
if the first time is not the one, which time: `kill`, `full 3`. Whoever strikes removes the file first, so that it
happens once, whichever process gets there and however often it is started again. Without the variable a call costs a
dictionary lookup.
"""

import errno
import os
import signal
import time
from collections import Counter
from pathlib import Path
from threading import Lock

VARIABLE = "FILOPODIA_FAILPOINTS"
DELAY_S = 5.0
ERRORS = {"full": errno.ENOSPC, "io": errno.EIO}

_hits: Counter[str] = Counter()
_lock = Lock()


def failpoint(name: str) -> None:
    """Strike here if this place is armed and has been reached often enough by this process.

    Raises:
        OSError: With the action `full` (no space left) or `io`.
    """
    folder = os.environ.get(VARIABLE)
    if folder is None:
        return
    armed = Path(folder) / name
    try:
        action, *count = armed.read_text().split()
    except (FileNotFoundError, ValueError):
        return
    with _lock:
        _hits[name] += 1
        if _hits[name] < int(count[0] if count else 1):
            return
        _hits[name] = 0
    try:
        armed.unlink()
    except FileNotFoundError:
        return
    _strike(action)


def _strike(action: str) -> None:
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif action == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif action == "delay":
        time.sleep(DELAY_S)
    else:
        raise OSError(ERRORS[action], os.strerror(ERRORS[action]))
