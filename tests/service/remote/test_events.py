"""Events of a task, over as many connections as it takes."""

import time
from types import SimpleNamespace

import httpx
import pytest

from service.client import ProblemError, Retries, UnreachableError
from service.remote.calls import Pause
from service.remote.events import EventFeed

QUEUED = b'event: queued\ndata: {"at": "t1"}\nid: 1\n\n'
STARTED = b'event: started\r\ndata: {"attempt": 1, "at": "t2"}\r\nid: 5\r\n\r\n'
END = b'event: end\ndata: {"status": "succeeded", "at": "t3"}\nid: 9\n\n'
CUT = httpx.ReadError("cut", request=httpx.Request("GET", "http://service"))


def last_ids(script):
    return [headers.get("Last-Event-ID") for _, _, headers, _ in script.requests]


def kinds(events):
    return [event["type"] for event in events]


def test_events_come_as_typed_dictionaries(client, script):
    script.stream(QUEUED + STARTED[:20], STARTED[20:] + b": ping\n\n", END)
    events = list(client.events("tsk_1"))
    assert events[1] == {"seq": 5, "type": "started", "data": {"attempt": 1}, "created_at": "t2"}
    assert kinds(events) == ["queued", "started", "end"]
    assert script.requests[0][2]["Accept"] == "text/event-stream"
    assert len(script.requests) == 1


def test_a_cut_stream_goes_on_after_the_last_whole_event(client, script):
    script.stream(QUEUED, STARTED[:30], is_cut=True)
    script.hang_up()
    script.add({}, status=503)
    script.stream(STARTED, is_cut=True)
    script.stream(END)
    assert kinds(client.events("tsk_1")) == ["queued", "started", "end"]
    assert last_ids(script) == [None, "1", "1", "1", "5"]


def test_a_service_that_stops_is_asked_again_when_it_is_back(client, script):
    script.stream(QUEUED)
    script.stream(STARTED)
    script.stream(END)
    assert kinds(client.events("tsk_1")) == ["queued", "started", "end"]
    assert last_ids(script) == [None, "1", "5"]


def test_an_end_that_is_known_already_is_not_waited_for(client, script):
    script.stream()
    script.add({"id": "tsk_1", "status": "succeeded"})
    script.stream()
    assert list(client.events("tsk_1", after=9)) == []
    assert last_ids(script) == ["9", None, "9"]


def test_a_task_that_was_retried_is_followed_to_its_last_end(client, script):
    script.stream(QUEUED, END, STARTED.replace(b"id: 5", b"id: 12"), is_cut=True)
    script.stream(END.replace(b"id: 9", b"id: 15"))
    assert kinds(client.events("tsk_1")) == ["queued", "end", "started", "end"]


def test_a_refusal_is_raised(client, script):
    script.add({"code": "task-not-found"}, status=404)
    with pytest.raises(ProblemError) as caught:
        list(client.events("tsk_1"))
    assert caught.value.code == "task-not-found"


def test_a_service_that_stays_away_is_given_up(connect, address, script):
    client = connect(address, retries=Retries(patience_s=0))
    script.hang_up()
    with pytest.raises(UnreachableError):
        list(client.events("tsk_1"))


@pytest.mark.parametrize("sign_of_life", [b": ping\n\n", QUEUED, QUEUED[:5]])
def test_whoever_gave_a_sign_of_life_is_not_given_up(sign_of_life, monkeypatch):
    feed = EventFeed("tsk_1", 0, Retries(patience_s=30))
    later = SimpleNamespace(monotonic=lambda: time.monotonic() + 3600)
    monkeypatch.setattr("service.remote.events.time", later)
    feed.take(sign_of_life)
    (step,) = feed.after_cut(CUT)
    assert isinstance(step, Pause)


def test_whoever_was_silent_for_long_is_given_up(monkeypatch):
    feed = EventFeed("tsk_1", 0, Retries(patience_s=30))
    later = SimpleNamespace(monotonic=lambda: time.monotonic() + 3600)
    monkeypatch.setattr("service.remote.events.time", later)
    with pytest.raises(UnreachableError):
        list(feed.after_cut(CUT))
