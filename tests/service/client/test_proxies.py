"""A proxy that the environment names is for other machines: what is sent to this one never goes there."""

import asyncio
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from service.client import AsyncFilopodia, ClientError, Filopodia, Retries

INFO = b'{"name": "filopodia"}'
ONCE = Retries(most=0)


class Server(ThreadingHTTPServer):
    """Answers everything with `INFO`, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked.append(f"{self.command} {self.path}")
                self.send_response(200)
                self.send_header("Content-Length", str(len(INFO)))
                self.end_headers()
                self.wfile.write(INFO)

            def do_CONNECT(self) -> None:
                server.asked.append(f"{self.command} {self.path}")
                self.send_error(502)

            def log_message(self, *_: object) -> None:
                """Print nothing."""

        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"


@pytest.fixture
def service() -> Iterator[Server]:
    yield from _running()


@pytest.fixture
def proxy() -> Iterator[Server]:
    yield from _running()


def _running() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def ask_both(url: str) -> None:
    """Ask with both clients."""

    async def ask() -> None:
        async with AsyncFilopodia(url, "fil_x", retries=ONCE) as client:
            await client.info()

    with Filopodia(url, "fil_x", retries=ONCE) as client:
        client.info()
    asyncio.run(ask())


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_this_machine_is_asked_directly(monkeypatch, service, proxy, name, host):
    monkeypatch.setenv(name, proxy.url)
    ask_both(service.url.replace("127.0.0.1", host))
    assert (len(service.asked), proxy.asked) == (2, [])


@pytest.mark.parametrize("bad", ["socks5://127.0.0.1:1", "ftp://x:secret@y", "http://h:port"])
def test_a_proxy_that_cannot_be_used_matters_only_to_other_machines(monkeypatch, service, bad):
    monkeypatch.setenv("ALL_PROXY", bad)
    ask_both(service.url)
    with pytest.raises(ClientError, match="ALL_PROXY") as caught:
        Filopodia("http://example.org", "fil_x")
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_machines_are_asked_through_the_proxy(monkeypatch, proxy):
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    ask_both("http://filopodia.example")
    assert proxy.asked == ["GET http://filopodia.example/v1/info"] * 2
    monkeypatch.setenv("NO_PROXY", "filopodia.example")
    with pytest.raises(ClientError):
        ask_both("http://filopodia.example")
    assert len(proxy.asked) == 2
