"""Requests as no client sends them: by hand, on bare sockets; and what they cost the service."""

import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from benchmarks.bad_input.service import Service
from tests.waiting import PACE

LOGIN = "/admin/login"
OWN = {
    "Sec-Fetch-Site": "same-origin",
    "Content-Type": "application/x-www-form-urlencoded",
}


def head(method: str, path: str, **headers: str) -> bytes:
    """Return a request's head; underscores in names of headers stand for hyphens."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


@contextmanager
def connections(service: Service, count: int, *, source: str = "") -> Iterator[list[socket.socket]]:
    """Open bare connections, which are closed at the end; `source` is one of this machine's addresses, 127.*.*.*."""
    host, port = service.address
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, count + 500)), hard))
    breath = threading.Event()
    try:
        with ExitStack() as stack:
            found = []
            for number in range(count):
                connection = socket.create_connection(
                    (host, int(port)), timeout=PACE.scaled(30), source_address=(source, 0)
                )
                found.append(stack.enter_context(connection))
                if (
                    number % 50 == 49
                ):  # the neighbour is a thread of this process, which wants to go on too
                    breath.wait(0.02)
            yield found
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def status_of(connection: socket.socket) -> int:
    """Return the status that comes; 0 if the connection ends without one."""
    got = b""
    while b"\r\n" not in got:
        try:
            piece = connection.recv(4096)
        except ConnectionError:
            return 0
        if not piece:
            return 0
        got += piece
    return int(got.split(b" ", 2)[1])


def ask(service: Service, request: bytes) -> int:
    """Send one request on a connection of its own, and return the status."""
    with connections(service, 1) as [connection]:
        # One that is refused before it was all sent has its answer there.
        with suppress(ConnectionError):
            connection.sendall(request)
        return status_of(connection)


def cpu_s(pid: int) -> float:
    """Return the processor time that a process has used, its children aside, in seconds, by the clock of the kernel."""
    return time.clock_gettime((~pid << 3) | 2)
