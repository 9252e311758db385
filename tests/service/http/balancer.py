"""A reverse proxy before several services, which keeps connections and repeats only what docs/deployment.md says.

1. Nothing could be sent: no connection was made.
2. The service said 503.
3. A connection that was used before ended without a byte of an answer. Right for predictions, which change nothing.
"""

import http.client
import itertools
import threading
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.waiting import PACE


class Balancer(ThreadingHTTPServer):
    """Passes predictions on, to each service in turn."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, netlocs: list[str]) -> None:
        self.netlocs = netlocs
        self.idle: dict[str, deque[http.client.HTTPConnection]] = {n: deque() for n in netlocs}
        self.turns = itertools.count()
        self.repeated: Counter[str] = Counter()
        """How often a request was sent again, by the rule."""
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"

    def ask(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        """Return status and body of the first service that answers; 502 if none does."""
        turn = next(self.turns)
        answer = (502, b"")
        for try_ in range(4):
            netloc = self.netlocs[(turn + try_) % len(self.netlocs)]
            rule, answer = self._ask_one(netloc, path, headers, body)
            if rule is None:
                return answer
            self.repeated[rule] += 1
        return answer

    def _ask_one(
        self, netloc: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[str | None, tuple[int, bytes]]:
        try:
            connection, was_used = self.idle[netloc].pop(), True
        except IndexError:
            connection, was_used = (
                http.client.HTTPConnection(netloc, timeout=PACE.scaled(60)),
                False,
            )
        try:
            if not was_used:
                connection.connect()
        except OSError:
            return "not connected", (502, b"")
        try:
            connection.request("POST", path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            return ("closed" if was_used else None), (502, repr(error).encode())
        if answer.will_close:
            connection.close()
        else:
            self.idle[netloc].append(connection)
        return ("503" if answer.status == 503 else None), (answer.status, content)

    def server_close(self) -> None:
        """Close what is idle, too."""
        super().server_close()
        for connections in self.idle.values():
            for connection in connections:
                connection.close()


class Handler(BaseHTTPRequestHandler):
    """Answers one connection, one request after another."""

    server: Balancer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Pass a request on."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name: self.headers[name] for name in ("Authorization", "Content-Type")}
        status, content = self.server.ask(self.path, headers, body)
        self.send_response_only(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@contextmanager
def balancer(netlocs: list[str]) -> Iterator[Balancer]:
    """Run a proxy while the block does."""
    with Balancer(netlocs) as proxy:
        thread = threading.Thread(target=proxy.serve_forever)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()
