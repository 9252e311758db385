"""Sorts whatever stops an attempt into errors that another attempt may or may not help."""

import structlog
import torch

from models.errors import (
    CorrectionError,
    DivergedError,
    LearnerError,
    MissingImagesError,
    TaskDataError,
    UnlearningError,
)
from registry.errors import (
    BlobError,
    BlobStoreUnavailableError,
    DatabaseUnavailableError,
    FencedError,
    StaleHeadError,
    StorageFullError,
)
from worker.errors import PermanentTaskError, TaskError, TemporaryTaskError

log = structlog.get_logger()

PERMANENT: tuple[tuple[type[Exception], str], ...] = (
    (DivergedError, "diverged"),
    (TaskDataError, "data-unreadable"),
    (BlobError, "data-unreadable"),
    (MissingImagesError, "data-unreadable"),
    (UnlearningError, "cannot-unlearn"),
    (CorrectionError, "cannot-correct"),
)
"""Errors whose own sentence is the user's, with the failure code; the first that fits counts."""


def sort_error(error: Exception) -> Exception:
    """Turn whatever stopped an attempt into a `TaskError`; errors that say that it is not ours to record stay.

    An unknown error is permanent: its traceback goes to the log, and a plain sentence to the user.
    """
    if isinstance(error, (TaskError, FencedError, DatabaseUnavailableError)):
        return error
    if isinstance(error, (BlobStoreUnavailableError, StaleHeadError, StorageFullError)):
        return TemporaryTaskError("internal", str(error))
    for kind, code in PERMANENT:
        if isinstance(error, kind):
            return PermanentTaskError(code, str(error))
    if isinstance(error, OSError):
        log.error("attempt_failed", exc_info=error)
        return TemporaryTaskError(
            "internal",
            f"A file or connection of the worker failed: {error.strerror or 'no reason given'}.",
        )
    if _is_out_of_memory(error):
        return PermanentTaskError(
            "out-of-memory",
            "There is too little memory to learn this task: send fewer images in one task, choose a smaller "
            "backbone, or give the worker more memory.",
        )
    log.error("attempt_failed", exc_info=error)
    if isinstance(error, LearnerError):
        return PermanentTaskError("internal", str(error))
    return PermanentTaskError(
        "internal",
        "The learning failed for an unexpected reason; the worker's log has the details.",
    )


def _is_out_of_memory(error: Exception) -> bool:
    # On the CPU torch raises a plain RuntimeError that names its allocator.
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or (
        isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
    )
