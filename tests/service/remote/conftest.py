"""Both clients under the same tests: against a small HTTP server that answers from a script."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from anyio.from_thread import start_blocking_portal

from service.client import AsyncFilopodia, Filopodia
from tests.service.remote.scripted import FAST, Blocking, Script


@pytest.fixture
def script():
    return Script()


@pytest.fixture
def address(script):
    """Where the scripted server is."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            script.requests.append((self.command, self.path, dict(self.headers), body))
            answer = script.answers.pop(0)
            if answer is None:
                self.close_connection = True
                return
            status, headers, chunks, is_whole = answer
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for chunk in chunks:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            if is_whole:
                self.wfile.write(b"0\r\n\r\n")
            self.close_connection = not is_whole

        do_GET = do_POST = do_DELETE = do_PATCH = do_PUT = answer  # noqa: N815

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(params=["sync", "async"])
def connect(request):
    """Makes a client of either kind, to be used in the same way."""
    if request.param == "sync":
        clients = []

        def make(url, key="fil_a_b", **options):
            clients.append(Filopodia(url, key, **{"retries": FAST, **options}))
            return clients[-1]

        yield make
        for client in clients:
            client.close()
        return
    with start_blocking_portal() as portal:
        opened = []

        def make_blocking(url, key="fil_a_b", **options):
            opened.append(AsyncFilopodia(url, key, **{"retries": FAST, **options}))
            return Blocking(portal, opened[-1])

        yield make_blocking
        for client in opened:
            portal.call(client.aclose)


@pytest.fixture
def client(connect, address):
    return connect(f"{address}/")
