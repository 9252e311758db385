"""The client to import: `from service.client import Filopodia, AsyncFilopodia`.

A module, not a package, because a package's `__init__` holds no imports here; what it shows lives in `service.remote`.

Example:
    with Filopodia("http://127.0.0.1:8000", key) as filopodia:
        filopodia.create_learner("birds")
        task = filopodia.learn_folder("birds", Path("photos")).wait()
        answer = filopodia.predict("birds", [("a.jpg", data)], min_version=task.version)
"""

from service.layout.errors import LayoutError
from service.remote.asynchronous import AsyncFilopodia, AsyncTask
from service.remote.errors import (
    ClientError,
    ProblemError,
    UnexpectedReplyError,
    UnreachableError,
    WaitTimeoutError,
)
from service.remote.folders import EmptyFolderError, LabelledImage
from service.remote.retries import Retries
from service.remote.statuses import ENDED, TaskStatus
from service.remote.synchronous import Filopodia, Task
from service.remote.task_calls import TaskOptions

__all__ = [
    "ENDED",
    "AsyncFilopodia",
    "AsyncTask",
    "ClientError",
    "EmptyFolderError",
    "Filopodia",
    "LabelledImage",
    "LayoutError",
    "ProblemError",
    "Retries",
    "Task",
    "TaskOptions",
    "TaskStatus",
    "UnexpectedReplyError",
    "UnreachableError",
    "WaitTimeoutError",
]
