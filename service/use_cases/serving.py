"""Which snapshot answers a request."""

import asyncio
from collections.abc import Hashable
from time import monotonic

from starlette.concurrency import run_in_threadpool

from registry.errors import LearnerNotFoundError
from service.dependencies import AppContext
from service.http.security import Principal
from service.inference.snapshots import Snapshot, VersionAddress
from service.intake.deadlines import Deadline
from service.intake.prediction_requests import Turn
from service.problems import Problem

WAIT_S = 10.0
"""How long `min_version` is waited for: longer than a version takes to load, shorter than clients' time-outs."""
POLL_S = 0.02
START_S = 1.0
"""How long a prediction waits for a service that has just started."""


async def choose_snapshot(
    context: AppContext,
    learner: str,
    *,
    version: int | None,
    min_version: int | None,
    owner: Hashable = None,
) -> Snapshot:
    """Return the live snapshot, an older one asked for, or the live one once it is new enough.

    Looks into memory only, unless the version is not there; a live one is loaded without the database.

    Raises:
        LearnerNotFoundError, VersionNotFoundError: If there is none.
        VersionErasedError: If the one asked for was erased.
        Problem: `nothing-learned`, `version-not-served`, `version-damaged` or `overloaded`.
    """
    live = await _live_address(context, learner, owner)
    address = live
    if version is not None and version != live.version:
        loaded = context.store.loaded((live.learner_id, version))
        address = loaded.address if loaded else await _find(context, learner, version)
    if min_version is not None and address.version < min_version:
        address = await _wait_for(context, learner, min_version)
    return await context.loads.get(address, owner)


async def _live_address(context: AppContext, learner: str, owner: Hashable) -> VersionAddress:
    address = context.store.live_address(learner)
    if address is None:
        await _wait_for_start(context)
        address = context.store.live_address(learner)
    if address is None:
        address = await _find(context, learner, None)
        if context.shows(address.learner_id):
            context.store.adopt(await context.loads.get(address, owner))
    if not context.shows(address.learner_id):
        raise LearnerNotFoundError(learner)
    return address


async def _find(context: AppContext, learner: str, version: int | None) -> VersionAddress:
    """Ask the database which version that is.

    Raises:
        Problem: `nothing-learned`.
    """
    address = await run_in_threadpool(context.watcher.find_version, learner, version)
    if address is None:
        raise Problem("nothing-learned")
    return address


async def _wait_for_start(context: AppContext) -> None:
    """Give a service that has just started a moment to load what it knows.

    Raises:
        Problem: `storage-unavailable`, at once or after that moment, if the database is not there to ask either: nobody
            should wait for its time-outs who could ask another service.
    """
    deadline = monotonic() + START_S
    while not context.watcher.has_looked and monotonic() < deadline:
        await asyncio.sleep(POLL_S)
    if not context.watcher.has_looked or not context.watcher.is_database_up:
        raise Problem(
            "storage-unavailable", "This learner is not loaded yet; repeat the request in a moment."
        )


async def _wait_for(context: AppContext, learner: str, min_version: int) -> VersionAddress:
    context.watcher.wake()
    deadline = monotonic() + WAIT_S
    while monotonic() < deadline:
        address = context.store.live_address(learner)
        if address is not None and address.version >= min_version:
            return address
        await asyncio.sleep(POLL_S)
    raise Problem("version-not-served")


def turn_of(context: AppContext, principal: Principal) -> Turn:
    """Return the turn of a request for a prediction, which waits from now on."""
    return Turn(
        principal.key_id,
        Deadline(context.settings.max_wait_s),
        lambda work: context.quotas.draw_pixels(principal, work),
    )
