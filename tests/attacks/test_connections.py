"""Attacks on connections: by number, by never reading, by never ending, by asking ahead."""

import json
import re
import socket
import threading
from collections import Counter
from contextlib import suppress

import httpx
import pytest

from benchmarks.bad_input.service import LEARNER, Service, picture
from tests.attacks.neighbour import Neighbour, harmless, require_unharmed
from tests.attacks.strangers import connections
from tests.waiting import PACE, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timed(group="attacks and load")]

STATIC = b"GET /admin/static/plotly.min.js HTTP/1.1\r\nHost: x\r\n\r\n"
STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
OFTEN = 3
"""Requests that ask for more than the kernel takes."""


def has_ended(connection: socket.socket) -> bool:
    """Say whether the service has closed or reset a connection, without reading what it said."""
    connection.setblocking(False)
    try:
        connection.send(b"\r\n")
    except BlockingIOError:
        return False
    except OSError:
        return True
    return False


def read_all(connection: socket.socket) -> bytes:
    """Return what comes until the service closes."""
    received = b""
    while data := connection.recv(1 << 16):
        received += data
    return received


def is_alive(service: Service) -> bool:
    return httpx.get(f"{service.url}/livez", timeout=PACE.scaled(10)).status_code == 200


@harmless
def test_more_idle_connections_than_there_may_be_keep_nobody_out(service: Service) -> None:
    with Neighbour(service) as neighbour:
        quiet = neighbour.watch(1.0)
        with neighbour.watching(2.0) as attacked, connections(service, 2300) as idle:
            for _ in range(10):
                assert is_alive(service)
            answer = httpx.post(
                f"{service.url}/v1/learners/{LEARNER}/predictions?store=false",
                content=picture("heron", 1),
                headers={"Authorization": f"Bearer {service.key}", "Content-Type": "image/png"},
                timeout=PACE.scaled(60),
            )
            assert answer.status_code == 200
            wait_until(lambda: any(has_ended(connection) for connection in idle), 10)
        require_unharmed(attacked, quiet, neighbour.watch(1.0))


@harmless
def test_answers_that_nobody_reads_are_not_kept_for_long(service: Service) -> None:
    size = len(httpx.get(f"{service.url}/admin/static/plotly.min.js").content)
    assert size > 1_000_000
    with Neighbour(service) as neighbour:
        quiet = neighbour.watch(1.0)
        service.forget_peak()
        before = service.peak_mib()
        with neighbour.watching(2.0) as attacked, connections(service, 40) as deaf:
            for connection in deaf:
                connection.sendall(STATIC * OFTEN)
            assert is_alive(service)
            # The deadline is 10 s.
            wait_until(lambda: all(has_ended(connection) for connection in deaf), 20)
        # One answer on each would be 200 MB.
        assert service.peak_mib() - before < 60
        require_unharmed(attacked, quiet, neighbour.watch(1.0))


def test_an_answer_that_is_read_slowly_but_steadily_arrives(service: Service) -> None:
    with connections(service, 1) as (slow,):
        slow.sendall(STATIC.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        pause, found = threading.Event(), b""
        while data := slow.recv(64 * 1024):
            found += data
            pause.wait(0.02)
    head, _, body = found.partition(b"\r\n\r\n")
    assert f"content-length: {len(body)}".encode() in head.lower()


@harmless
def test_bodies_that_hardly_come_hold_up_nobody(service: Service) -> None:
    head = (
        f"POST /v1/learners/{LEARNER}/predictions HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Bearer {service.key}\r\nContent-Type: image/png\r\nContent-Length: 50000\r\n\r\n"
    )
    with Neighbour(service) as neighbour:
        quiet = neighbour.watch(1.0)
        with neighbour.watching(2.0) as attacked, connections(service, 200) as slow:
            for connection in slow:
                connection.sendall(head.encode() + b"\x89")
            assert is_alive(service)
            wait_until(lambda: all(has_ended(connection) for connection in slow), 20)
        require_unharmed(attacked, quiet, neighbour.watch(1.0))


@harmless
def test_requests_sent_ahead_are_all_answered_in_order(service: Service) -> None:
    paths = [f"/problems/{'no-such-' * 12}{i}" for i in range(1500)]
    requests = "".join(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n" for path in paths)
    last = "GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert len(requests) > 200_000
    with Neighbour(service) as neighbour:
        quiet = neighbour.watch(1.0)
        with neighbour.watching(1.0) as attacked, connections(service, 1) as (ahead,):
            sender = threading.Thread(target=ahead.sendall, args=((requests + last).encode(),))
            sender.start()
            received = read_all(ahead)
            sender.join()
        require_unharmed(attacked, quiet, neighbour.watch(1.0))
    assert STATUS.findall(received) == [b"404"] * len(paths) + [b"200"]
    assert received.count(b'"code":"not-found"') == len(paths)


def test_requests_sent_ahead_and_a_broken_one_are_answered_in_order(service: Service) -> None:
    with connections(service, 1) as (ahead,):
        ahead.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" * 3 + b"no request\r\n\r\n")
        received = read_all(ahead)
    assert STATUS.findall(received) == [b"200", b"200", b"200", b"400"]


def test_a_trailer_without_end_is_refused(service: Service) -> None:
    head = (
        f"POST /v1/learners HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {service.key}\r\n"
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
    )
    with connections(service, 1) as (endless,):
        endless.sendall(head.encode())
        with suppress(ConnectionError):
            for i in range(2000):
                endless.sendall(f"X-{i}: {'x' * 60}\r\n".encode())
        received = read_all(endless)
    assert received.startswith(b"HTTP/1.1 431 ")


def test_a_burst_of_uploads_is_answered_to_the_last(service: Service) -> None:
    """More than there may be in memory, from clients that read only when they have sent everything."""
    body = json.dumps({"images": [{"label": "a", "data": "A" * 6_000_000}]}).encode()
    head = (
        f"POST /v1/learners/{LEARNER}/tasks HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {service.key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    answers: Counter[bytes] = Counter()

    def upload(connection: socket.socket) -> None:
        try:
            connection.sendall(head.encode() + body)
            received = read_all(connection)
        except OSError as error:
            answers[repr(error).encode()] += 1
            return
        assert b'"request_id"' in received
        assert b"application/problem+json" in received
        is_busy = received.startswith(b"HTTP/1.1 503 ")
        assert not is_busy or b"retry-after: " in received.lower()
        answers[received[9:12]] += 1

    with Neighbour(service) as neighbour, connections(service, 50) as burst:
        with neighbour.watching(1.0) as attacked:
            threads = [threading.Thread(target=upload, args=(c,)) for c in burst]
            for thread in threads:
                thread.start()
            assert is_alive(service)
            for thread in threads:
                thread.join()
        assert set(attacked.statuses) == {200}
    assert set(answers) <= {b"422", b"503"}, answers
    assert answers.total() == 50
    assert answers[b"503"] > 0, "it was no burst"
