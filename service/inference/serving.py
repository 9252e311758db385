"""Which snapshot answers a request."""

import asyncio
from time import monotonic

from starlette.concurrency import run_in_threadpool

from service.dependencies import Collaborators
from service.http.problems import Problem
from service.inference.snapshots import Snapshot

WAIT_S = 10.0
"""How long `min_version` is waited for: longer than a version takes to load, shorter than clients' time-outs."""
POLL_S = 0.02


async def choose_snapshot(
    on: Collaborators, learner: str, *, version: int | None, min_version: int | None
) -> Snapshot:
    """Return the live snapshot, an older one asked for, or the live one once it is new enough.

    Looks into memory only, unless the version is not there.

    Raises:
        LearnerNotFoundError, VersionNotFoundError: If there is none.
        VersionErasedError: If the one asked for was erased.
        Problem: `nothing-learned`, `version-not-served` or `version-damaged`.
    """
    snapshot = on.store.live(learner)
    if snapshot is None:
        snapshot = await run_in_threadpool(on.watcher.load_version, learner, None)
    if snapshot is None:
        raise Problem("nothing-learned")
    if version is not None and version != snapshot.version:
        snapshot = on.store.older(snapshot.learner_id, version) or await run_in_threadpool(
            on.watcher.load_version, learner, version
        )
    if snapshot is None:
        raise Problem("nothing-learned")
    if min_version is not None and snapshot.version < min_version:
        snapshot = await _wait_for(on, learner, min_version)
    return snapshot


async def _wait_for(on: Collaborators, learner: str, min_version: int) -> Snapshot:
    on.watcher.wake()
    deadline = monotonic() + WAIT_S
    while monotonic() < deadline:
        snapshot = on.store.live(learner)
        if snapshot is not None and snapshot.version >= min_version:
            return snapshot
        await asyncio.sleep(POLL_S)
    raise Problem("version-not-served")
