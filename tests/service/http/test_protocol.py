"""The protocol over real sockets, before an app of a few lines: deadlines, too many requests, and how it leaves."""

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import uvicorn

from service.http import protocol as module
from service.http.connections import Connections
from service.http.protocol import deadline_protocol
from service.settings import ServiceSettings
from tests.waiting import PACE, wait_until, within

GRACE_S = 0.5
LARGE = b"x" * 50_000_000
GET = "GET {} HTTP/1.1\r\nHost: x\r\n\r\n"
MAY_GO_ON = threading.Event()
"""What `/late` waits for."""
FAILURES: list[OSError] = []
"""What its answers met."""


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer at once, with much, with a body read whole, or with a piece now and another when the client sends one."""
    start = {"type": "http.response.start", "status": 200, "headers": []}
    if scope["path"] == "/stream":
        scope["state"]["principal"] = type("Principal", (), {"key_id": "k"})
        await send(start)
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        await asyncio.sleep(3 * GRACE_S)
        await send({"type": "http.response.body", "body": b"last"})
        return
    if scope["path"] == "/late":
        # Nothing that comes meanwhile is noticed, its client's leaving neither.
        MAY_GO_ON.wait()
        await send(start | {"headers": [(b"content-length", b"0")]})
        try:
            await send({"type": "http.response.body", "body": b""})
        except OSError as error:
            FAILURES.append(error)
        return
    if scope["path"] == "/body":
        while (await receive()).get("more_body"):
            pass
    body = LARGE if scope["path"].startswith("/large") else scope["path"].encode()
    if scope["path"] == "/large":
        start["headers"] = [(b"content-length", str(len(body)).encode())]
    await send(start)
    await send({"type": "http.response.body", "body": body})


class Running:
    """A server of the app in a thread."""

    def __init__(self, limit: int) -> None:
        self.connections = Connections(limit)
        settings = ServiceSettings(request_deadline_s=GRACE_S, body_bytes_per_s=1_000_000)
        http: Any = deadline_protocol(settings, self.connections)
        config = uvicorn.Config(
            app,
            http=http,
            loop="asyncio",  # the one that `serve` runs on
            ws="none",
            lifespan="off",
            log_config=None,
            timeout_graceful_shutdown=20,
        )
        self.server = uvicorn.Server(config)
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.thread = threading.Thread(target=self.server.run, args=([self.listener],))
        self._stack = ExitStack()

    def ask(self, path: str, sent: str = GET) -> socket.socket:
        """Send a request on a connection of its own."""
        connection = socket.create_connection(self.listener.getsockname())
        self._stack.enter_context(connection)
        connection.settimeout(PACE.scaled(30))
        connection.sendall(sent.replace("{}", path).encode())
        return connection

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join()

    @contextmanager
    def running(self) -> Iterator["Running"]:
        self.thread.start()
        wait_until(lambda: self.server.started)
        try:
            yield self
        finally:
            self._stack.close()
            self.stop()


@pytest.fixture
def running() -> Iterator[Running]:
    with Running(2).running() as found:
        yield found


def rest(connection: socket.socket) -> bytes:
    received = b""
    while data := connection.recv(1 << 20):
        received += data
    return received


def test_beyond_the_requests_under_way_only_health_is_answered(running: Running) -> None:
    streams = [running.ask("/stream") for _ in range(2)]
    assert all(stream.recv(1 << 16).startswith(b"HTTP/1.1 200") for stream in streams)
    refused = rest(running.ask("/other"))
    head, _, body = refused.partition(b"\r\n\r\n")
    problem = json.loads(body)
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"content-type: application/problem+json" in head
    assert b"retry-after: 1" in head
    assert f"x-request-id: {problem['request_id']}".encode() in head
    assert problem["code"] == "overloaded"
    assert running.ask("/livez").recv(12) == b"HTTP/1.1 200"
    assert b"last" in rest_of_stream(streams[0])
    wait_until(lambda: not running.connections.is_full)
    assert running.ask("/other").recv(12) == b"HTTP/1.1 200"


def rest_of_stream(stream: socket.socket) -> bytes:
    received = b""
    while b"last" not in received:
        received += stream.recv(1 << 16)
    return received


def test_a_stream_with_nothing_to_say_outlives_the_deadline(running: Running) -> None:
    assert b"last" in rest_of_stream(running.ask("/stream"))


@pytest.mark.parametrize("path", ["/large", "/large/in/chunks"])
@pytest.mark.parametrize("is_leaving", [False, True])
@pytest.mark.parametrize("ending", ["", "Connection: close\r\n"])
def test_an_answer_that_nobody_reads_ends(
    running: Running, path: str, is_leaving: bool, ending: str
) -> None:
    with within(10):
        deaf = running.ask(path, GET.replace("\r\n\r\n", f"\r\n{ending}\r\n"))
        assert deaf.recv(12) == b"HTTP/1.1 200"
        if is_leaving:
            deaf.shutdown(socket.SHUT_WR)
        wait_until(lambda: len(running.connections) == 0)


def test_an_answer_to_who_has_just_gone_is_no_error(running: Running) -> None:
    leaving = running.ask("/late", GET.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"))
    wait_until(lambda: running.connections.n_busy == 1)
    leaving.close()
    MAY_GO_ON.set()
    wait_until(lambda: len(running.connections) == 0)
    assert FAILURES == []


def test_who_has_sent_all_still_reads_all(running: Running) -> None:
    reading = running.ask("/large")
    begin = reading.recv(12)
    reading.shutdown(socket.SHUT_WR)
    assert (begin + rest(reading)).endswith(LARGE)


def test_a_large_answer_is_read_to_its_end(running: Running) -> None:
    received = rest(running.ask("/large", GET.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")))
    assert len(received) > len(LARGE)


def test_no_more_than_a_few_requests_wait(running: Running, monkeypatch: Any) -> None:
    waiting: list[int] = []
    began = module.DeadlineProtocol.on_headers_complete

    def counting(self: Any) -> None:
        began(self)
        waiting.append(len(self.pipeline))

    monkeypatch.setattr(module.DeadlineProtocol, "on_headers_complete", counting)
    connection = running.ask("/a", GET * 3000 + GET.replace("x\r\n", "x\r\nConnection: close\r\n"))
    assert rest(connection).count(b"HTTP/1.1 200") == 3001
    assert len(waiting) == 3001
    assert max(waiting) == module.MAX_PIPELINED


def test_bodies_and_requests_behind_them_are_told_apart(running: Running) -> None:
    counted = "POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\n\r\n" + "\r\n\r\n" * 2250
    chunked = "POST /body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunked += ("2329\r\n" + "y" * 9001 + "\r\n") * 20 + "0\r\nA: b\r\n\r\n"
    last = GET.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")
    received = rest(running.ask("/end", (counted + chunked + GET) * 5 + last))
    assert received.count(b"HTTP/1.1 200") == 16
    assert received.count(b"/body") == 10


def test_what_is_on_its_way_when_it_stops_is_answered(running: Running) -> None:
    idle = running.ask("/a")
    received = idle.recv(1 << 16)
    while not received.endswith(b"0\r\n\r\n"):
        received += idle.recv(1 << 16)
    assert received.startswith(b"HTTP/1.1 200")
    half = running.ask("/b", GET[:10])
    wait_until(lambda: len(running.connections) == 2)
    stopping = threading.Thread(target=running.stop)
    running.connections.drain()
    stopping.start()
    half.sendall(GET[10:].replace("{}", "/b").encode())
    received = rest(half)
    assert received.startswith(b"HTTP/1.1 200")
    assert b"connection: close" in received
    assert idle.recv(1) == b""
    with within(5):
        stopping.join()
