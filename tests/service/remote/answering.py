"""A server that answers everything, and both clients that ask it: for tests of how a request finds its way."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from service.client import AsyncFilopodia, Filopodia, Retries

INFO = b'{"name": "filopodia"}'
ONCE = Retries(most=0)


class Server(ThreadingHTTPServer):
    """Answers everything with `INFO`, and remembers what it was asked, and under which names."""

    def __init__(self, host: str) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.asked: list[str] = []
        self.hosts: list[str | None] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked.append(f"{self.command} {self.path}")
                server.hosts.append(self.headers["Host"])
                self.send_response(200)
                self.send_header("Content-Length", str(len(INFO)))
                self.end_headers()
                self.wfile.write(INFO)

            def do_CONNECT(self) -> None:
                server.asked.append(f"{self.command} {self.path}")
                self.send_error(502)

            def log_message(self, *_: object) -> None:
                """Print nothing."""

        super().__init__((host, 0), Handler)
        self.url = f"http://{host}:{self.server_port}"


@contextmanager
def answering(host: str) -> Iterator[Server]:
    """Answer on an address of this machine while the block runs."""
    with Server(host) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask_both(url: str) -> None:
    """Ask with both clients."""

    async def ask() -> None:
        async with AsyncFilopodia(url, "fil_x", retries=ONCE) as client:
            await client.info()

    with Filopodia(url, "fil_x", retries=ONCE) as client:
        client.info()
    asyncio.run(ask())
