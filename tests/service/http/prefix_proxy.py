"""A reverse proxy as people set them up: it passes on what is below a prefix, and has nothing else to answer."""

import http.client
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from tests.waiting import PACE

HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "te", "upgrade"})


class PrefixProxy(ThreadingHTTPServer):
    """Passes requests on to a site, with the prefix or without it, and remembers what was asked."""

    daemon_threads = True

    def __init__(self, site: str, prefix: str, *, strips: bool) -> None:
        self.netloc = urlsplit(site).netloc
        self.prefix = prefix
        self.strips = strips
        self.inside: list[str] = []
        """Paths that were passed on, as they were asked for."""
        self.outside: list[str] = []
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}{prefix}"


class Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    server: PrefixProxy

    def handle_one_request(self) -> None:
        """Read a request of any method, and pass it on."""
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
        elif f"{self.path}/".startswith(f"{self.server.prefix}/"):
            self.server.inside.append(self.path)
            self._pass_on()
        else:
            self.server.outside.append(self.path)
            self.send_error(404)

    def _pass_on(self) -> None:
        path = self.path.removeprefix(self.server.prefix) if self.server.strips else self.path
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        # The browser may go to another page meanwhile, and take no more of this one.
        with closing(
            http.client.HTTPConnection(self.server.netloc, timeout=PACE.scaled(60))
        ) as site:
            site.putrequest(self.command, path or "/", skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in HOP_BY_HOP:
                    site.putheader(name, value)
            site.endheaders(body)
            with site.getresponse() as answer, suppress(ConnectionError):
                self._answer(answer)

    def _answer(self, answer: http.client.HTTPResponse) -> None:
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        while data := answer.read1(65536):
            self.wfile.write(data)
            self.wfile.flush()

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@contextmanager
def prefix_proxy(site: str, prefix: str, *, strips: bool) -> Iterator[PrefixProxy]:
    """Run a proxy while the block does."""
    with PrefixProxy(site, prefix, strips=strips) as proxy:
        thread = threading.Thread(target=proxy.serve_forever)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()
