"""A proxy that the environment names is for other machines: what is sent to this one never goes there."""

from collections.abc import Iterator

import pytest

from service.client import ClientError, Filopodia
from tests.service.remote.answering import Server, answering, ask_both


@pytest.fixture
def service() -> Iterator[Server]:
    with answering("127.0.0.1") as server:
        yield server


@pytest.fixture
def proxy() -> Iterator[Server]:
    with answering("127.0.0.1") as server:
        yield server


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


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
