"""Keeps the checkpoints of one attempt: bytes in the blob store, their name in the task's row."""

import threading
import time
from collections.abc import Callable
from typing import Any

import structlog

from models import checkpoint
from models.checkpoint import Snapshot
from models.errors import CheckpointError, StoppedError
from registry.blobs.store import BlobStore
from registry.checkpoints import put_checkpoint
from registry.errors import BlobError, FencedError, RegistryError
from registry.failpoints import failpoint
from registry.postgres.database import Sessions

log = structlog.get_logger()

MOST_SHARE = 0.01
"""Share of the training time that goes into checkpoints at most: a slow store gets them less often."""


class CheckpointKeeper:
    """A `models.checkpoint.Keeper` that keeps one every so many seconds of training, and one when told to stop.

    Learning goes on without a checkpoint that could not be kept.
    """

    def __init__(
        self,
        session_factory: Sessions,
        blobs: BlobStore,
        task_id: str,
        token: int,
        *,
        interval_s: float,
        stop: threading.Event,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session_factory = session_factory
        self._blobs = blobs
        self._task_id = task_id
        self._token = token
        self._interval_s = interval_s
        self._stop = stop
        self._clock = clock
        self._next: float | None = None
        self._blobs_there: set[str] = set()
        """All of this task's that may exist. Whether a commit that failed has happened after all, nobody knows: so one
        goes only once the row is sure to name another."""

    def is_due(self) -> bool:
        """Tell whether the time has come. The first call starts the clock."""
        now = self._clock()
        if self._next is None:
            self._next = now + self._interval_s
        return now >= self._next or self._stop.is_set()

    def keep(self, checkpoint: bytes) -> None:
        """Keep a checkpoint in place of the one before.

        Raises:
            FencedError: If the attempt is no longer current.
            StoppedError: If training is to stop.
        """
        started = self._clock()
        try:
            self._put(checkpoint)
        except FencedError:
            raise
        except (RegistryError, OSError) as error:
            log.warning("checkpoint_not_kept", reason=str(error))
        else:
            seconds = round(self._clock() - started, 3)
            log.info("checkpoint_kept", size_bytes=len(checkpoint), seconds=seconds)
        now = self._clock()
        self._next = now + max(self._interval_s, (now - started) / MOST_SHARE)
        if self._stop.is_set():
            raise StoppedError("The worker stops: learning goes on in another attempt.")

    def _put(self, checkpoint: bytes) -> None:
        failpoint("checkpoint.before_blob")
        sha256 = self._blobs.put(checkpoint)
        self._blobs_there.add(sha256)
        failpoint("checkpoint.before_commit")
        with self._session_factory.begin() as session:
            before = put_checkpoint(session, self._task_id, self._token, sha256)
        failpoint("checkpoint.after_commit")
        if before is not None:
            self._blobs_there.add(before)
        for old in self._blobs_there - {sha256}:
            self._blobs.delete(old)
            self._blobs_there.remove(old)


def read_checkpoint(
    sha256: str | None, blobs: BlobStore, belongs_to: dict[str, Any]
) -> list[Snapshot]:
    """Return the sections of the checkpoint; none if there is no usable one."""
    if sha256 is None:
        return []
    try:
        sections = checkpoint.unpack(blobs.get(sha256), belongs_to)
    except (CheckpointError, BlobError, OSError) as error:
        log.warning("checkpoint_ignored", reason=str(error))
        return []
    log.info("checkpoint_found", n_sections=len(sections))
    return sections
