"""Who attacks: raw requests over connections of their own, and counts of what comes back."""

import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

BOUNDARY = "bad"
FORM = f"multipart/form-data; boundary={BOUNDARY}"
TIMEOUT_S = 30.0


@dataclass
class Attacker:
    """Sends raw requests and counts what comes back."""

    host: str
    port: int
    key: str
    learner: str
    answers: Counter[str] = field(default_factory=Counter)
    stopping: threading.Event = field(default_factory=threading.Event)

    @property
    def predictions(self) -> str:
        """Path of the predictions."""
        return f"/v1/learners/{self.learner}/predictions"

    @property
    def tasks(self) -> str:
        """Path of the tasks."""
        return f"/v1/learners/{self.learner}/tasks"

    def head(self, path: str, *lines: str) -> bytes:
        """Return the head of a POST without the empty line that ends it."""
        fixed = (f"Host: {self.host}", f"Authorization: Bearer {self.key}")
        return "\r\n".join([f"POST {path} HTTP/1.1", *fixed, *lines, ""]).encode()

    def send(self, head: bytes, body: Iterable[bytes] = ()) -> None:
        """Send one request on a connection of its own, as far as the service lets us."""
        with socket.create_connection((self.host, self.port), timeout=TIMEOUT_S) as connection:
            with suppress(OSError):
                connection.sendall(head + b"\r\n")
                for piece in body:
                    if self.stopping.is_set():
                        break
                    connection.sendall(piece)
            self.answers[status_of(connection)] += 1

    def post(self, path: str, kind: str, data: bytes) -> None:
        """Send one whole request."""
        self.send(self.head(path, f"Content-Type: {kind}", f"Content-Length: {len(data)}"), [data])


def status_of(connection: socket.socket) -> str:
    """Return the status of the answer that is read from a connection; `closed` if there is none."""
    try:
        line = connection.recv(200).split(b"\r\n")[0].decode("latin-1").split(" ")
    except OSError:
        return "closed"
    return line[1] if len(line) > 1 else "closed"


@dataclass(frozen=True)
class Attack:
    """What is done, by how many at once, and how often."""

    act: Callable[[Attacker], None]
    n_threads: int
    per_s: float
    """Actions a second, of all threads together."""
    what: str
