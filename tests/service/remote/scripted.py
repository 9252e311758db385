"""A server that answers from a script, and the asynchronous client as if it were the synchronous one."""

import json

from service.client import AsyncTask, Retries

FAST = Retries(first_pause_s=0.001, longest_pause_s=0.01)
TASK = {"id": "tsk_1", "learner": "birds", "version": None, "error": None, "status": "queued"}


class Script:
    """Answers requests one after the other, in chunks, or hangs up; remembers what came."""

    def __init__(self):
        self.answers = []
        self.requests = []

    def add(self, body, status=200, **headers):
        self.answers.append((status, headers, [json.dumps(body).encode()], True))

    def stream(self, *chunks, is_cut=False):
        headers = {"Content_Type": "text/event-stream"}
        self.answers.append((200, headers, chunks, not is_cut))

    def hang_up(self):
        self.answers.append(None)


class Blocking:
    """The asynchronous client, or a task of it, as if it were the synchronous one."""

    def __init__(self, portal, inner):
        self._portal = portal
        self._inner = inner

    def __getattr__(self, name):
        found = getattr(self._inner, name)
        if name == "events":
            return lambda *args, **kwargs: self._portal.call(self._collect, found, args, kwargs)
        if not callable(found):
            return found
        return lambda *args, **kwargs: self._portal.call(self._await, found, args, kwargs)

    def __getitem__(self, key):
        return self._inner[key]

    async def _await(self, method, args, kwargs):
        result = await method(*args, **kwargs)
        return Blocking(self._portal, result) if isinstance(result, AsyncTask) else result

    async def _collect(self, events, args, kwargs):
        return [event async for event in events(*args, **kwargs)]
