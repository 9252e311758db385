"""Everybody who waits for a task shares one look at the database."""

import asyncio
import threading
from types import SimpleNamespace

import pytest
from sqlalchemy import event, text

from registry.errors import RegistryError
from registry.events import append_event, latest
from registry.postgres.database import make_engine, make_session_factory
from service.http.event_feed import EventFeed
from service.use_cases.event_stream import stream_events
from tests.factories import make_learner, make_task
from tests.waiting import wait_until, within

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


def test_what_is_heard_brings_the_look_forward(session_factory, session, task_ids, monkeypatch):
    monkeypatch.setattr("service.http.event_feed.LOOK_S", 60.0)
    feed = EventFeed(session_factory)

    async def watch():
        for _ in range(2):  # what is heard between two looks counts for the next
            feed.wake()
            waiting = asyncio.create_task(feed.next(task_ids[0]))
            await asyncio.create_task(one_turn())
            await asyncio.to_thread(feed.wake)
            assert (await waiting).status == "queued"

    with within(3):
        asyncio.run(watch())


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


def test_a_stream_outlasts_a_database_that_does_not_answer(postgres, session, task_ids):
    engine = make_engine(postgres.url, application_name="impatient", statement_timeout_s=0.1)
    refused = []
    event.listen(engine, "handle_error", lambda context: refused.append(context))
    sessions = make_session_factory(engine)
    context = SimpleNamespace(
        session_factory=sessions, feed=EventFeed(sessions), stopping=threading.Event()
    )

    async def follow():
        stream = stream_events(context, task_ids[0], after=0)
        assert b"event: queued" in await anext(stream)
        session.execute(text("LOCK TABLE tasks, events IN ACCESS EXCLUSIVE MODE"))
        following = asyncio.create_task(anext(stream))
        await asyncio.to_thread(wait_until, lambda: len(refused) > 1)
        assert not following.done()
        session.rollback()
        append_event(session, task_ids[0], "phase", {"phase": "training"})
        session.commit()
        news = await following
        await stream.aclose()
        return news

    try:
        assert b"event: phase" in asyncio.run(follow())
    finally:
        engine.dispose()
