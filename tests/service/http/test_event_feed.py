"""Everybody who waits for a task shares one look at the database."""

import asyncio

import pytest
from sqlalchemy import event

from registry.errors import RegistryError
from registry.events import append_event, latest
from service.http.event_feed import EventFeed
from tests.factories import make_learner, make_task

N_WATCHERS = 50


@pytest.fixture
def statements(engine):
    """What is asked of the database meanwhile."""
    found = []

    def note(connection, cursor, statement, *more):
        found.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    yield found
    event.remove(engine, "before_cursor_execute", note)


@pytest.fixture
def task_ids(session, blobs):
    make_learner(session, "birds")
    ids = [make_task(session, blobs, classes=[name]).id for name in ("heron", "egret")]
    session.commit()
    return ids


async def one_turn():
    """Let those begin that were created before."""


def test_many_watchers_of_two_tasks_ask_once(session_factory, session, task_ids, statements):
    feed = EventFeed(session_factory)

    async def watch():
        return await asyncio.gather(*(feed.next(task_ids[i % 2]) for i in range(N_WATCHERS)))

    found = asyncio.run(watch())
    assert len([text for text in statements if "events" in text]) == 1
    assert {seen.status for seen in found} == {"queued"}
    seqs = {task_id: seq for task_id, (seq, _) in latest(session, task_ids).items()}
    assert [seen.seq for seen in found] == [seqs[task_ids[i % 2]] for i in range(N_WATCHERS)]


def test_the_next_look_shows_what_has_happened_since(session_factory, session, task_ids):
    feed = EventFeed(session_factory)
    task_id = task_ids[0]

    async def watch():
        before = await feed.next(task_id)
        append_event(session, task_id, "phase", {"phase": "training"})
        session.commit()
        return before, await feed.next(task_id)

    before, after = asyncio.run(watch())
    assert after.seq > before.seq


def test_a_task_that_is_not_there_is_said_to_be_none(session_factory, task_ids):
    feed = EventFeed(session_factory)

    async def watch():
        return await asyncio.gather(feed.next("tsk_none"), feed.next(task_ids[0]))

    gone, there = asyncio.run(watch())
    assert gone is None
    assert there.status == "queued"


def test_who_goes_away_takes_nobody_along(session_factory, task_ids):
    feed = EventFeed(session_factory)

    async def watch():
        going = asyncio.create_task(feed.next(task_ids[0]))
        staying = asyncio.create_task(feed.next(task_ids[1]))
        await asyncio.create_task(one_turn())
        going.cancel()
        return await staying, going

    found, going = asyncio.run(watch())
    assert found.status == "queued"
    assert going.cancelled()


def test_a_look_that_fails_is_told_to_all_and_the_next_one_is_new(
    session_factory, task_ids, engine
):
    feed = EventFeed(session_factory)

    def fail(*more):
        raise RegistryError("The database does not answer.")

    async def watch():
        event.listen(engine, "before_cursor_execute", fail)
        waiting = [feed.next(task_ids[i]) for i in (0, 1)]
        failed = await asyncio.gather(*waiting, return_exceptions=True)
        event.remove(engine, "before_cursor_execute", fail)
        return failed, await feed.next(task_ids[0])

    failed, later = asyncio.run(watch())
    assert all(isinstance(error, RegistryError) for error in failed)
    assert later.status == "queued"


def test_a_feed_goes_on_in_another_loop(session_factory, task_ids):
    feed = EventFeed(session_factory)

    async def leave():
        waiting = asyncio.create_task(feed.next(task_ids[0]))
        await asyncio.create_task(one_turn())
        waiting.cancel()

    asyncio.run(leave())
    assert asyncio.run(feed.next(task_ids[0])).status == "queued"
