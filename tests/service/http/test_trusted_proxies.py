"""Proxies are believed by address, by network and by name, and nobody else is."""

import asyncio
import socket

import pytest

from service.http import trusted_proxies
from service.http.trusted_proxies import TrustedProxies
from tests.waiting import PACE

CLIENT = "203.0.113.9"


class Names:
    """What a resolver of names would say, in the place of the system's."""

    def __init__(self, monkeypatch, **addresses):
        self.addresses = addresses
        self.asked = []
        monkeypatch.setattr(socket, "getaddrinfo", self._look_up)

    def _look_up(self, name, *_, **__):
        self.asked.append(name)
        if name not in self.addresses:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, 0)) for a in self.addresses[name]]


def seen_by(proxies, *requests):
    """Return what the app is told of some requests, each a sender and what it forwards, or what returns that then."""
    seen = []

    async def app(scope, receive, send):
        seen.append((scope["client"][0], scope["scheme"]))

    async def ask():
        middleware = TrustedProxies(app, proxies)
        believed = []
        for sender, given in requests:
            headers = given() if callable(given) else given
            scope = {"type": "http", "scheme": "http", "client": (sender, 1), "headers": headers}
            believed.append(await middleware.believes(scope))
            await middleware(scope, None, None)
        return believed

    with asyncio.Runner() as runner:
        believed = runner.run(asyncio.wait_for(ask(), PACE.scaled(30)))
    return [(*told, is_believed) for told, is_believed in zip(seen, believed, strict=True)]


def forwarding(address, scheme="https"):
    return [
        (b"x-forwarded-for", address.encode()),
        (b"x-forwarded-proto", scheme.encode()),
    ]


@pytest.mark.parametrize(
    ("proxies", "sender"),
    [
        (["10.0.0.1"], "10.0.0.1"),
        (["10.0.0.0/8"], "10.9.9.9"),
        (["fd00::/8"], "fd00::7"),
        (["proxy"], "10.0.0.5"),
        (["192.0.2.1", "proxy"], "10.0.0.6"),
        (["gone", "proxy"], "10.0.0.5"),
    ],
)
def test_a_proxy_is_believed(monkeypatch, proxies, sender):
    Names(monkeypatch, proxy=["10.0.0.5", "10.0.0.6"])
    assert seen_by(proxies, (sender, forwarding(CLIENT))) == [(CLIENT, "https", True)]


@pytest.mark.parametrize("proxies", [[], ["10.0.0.1"], ["10.0.0.0/24"], ["proxy"], ["gone"]])
def test_nobody_else_is(monkeypatch, proxies):
    Names(monkeypatch, proxy=["10.0.0.5"])
    told = seen_by(proxies, ("10.0.1.1", forwarding(CLIENT)), ("10.0.1.1", []))
    assert told == [("10.0.1.1", "http", False), ("10.0.1.1", "http", True)]


def test_what_a_client_claims_by_itself_is_passed_over(monkeypatch):
    """The proxy adds who has connected to it at the end."""
    Names(monkeypatch, proxy=["10.0.0.5"])
    claimed = forwarding(f"198.51.100.1, {CLIENT}")
    assert seen_by(["proxy"], ("10.0.0.5", claimed)) == [(CLIENT, "https", True)]
    before_it = forwarding(f"198.51.100.1, {CLIENT}, 172.18.0.1")
    told = seen_by(["proxy", "172.18.0.1"], ("10.0.0.5", before_it))
    assert told == [(CLIENT, "https", True)]


def test_names_are_asked_for_once_in_a_while_and_only_if_something_is_forwarded(monkeypatch):
    names = Names(monkeypatch, proxy=["10.0.0.5"])
    seen_by(["proxy"], *[("10.0.0.5", [])] * 5)
    assert names.asked == []
    seen_by(["proxy"], *[("10.0.1.1", forwarding(CLIENT))] * 50)
    assert len(names.asked) < 5


def test_a_proxy_that_comes_back_elsewhere_is_believed_there_and_no_longer_where_it_was(
    monkeypatch,
):
    monkeypatch.setattr(trusted_proxies, "AGAIN_S", 0.0)
    names = Names(monkeypatch, proxy=["10.0.0.5"])

    def moved():
        names.addresses["proxy"] = ["10.0.0.6"]
        return forwarding(CLIENT)

    told = seen_by(
        ["proxy"],
        ("10.0.0.5", forwarding(CLIENT)),
        ("10.0.0.6", moved),
        ("10.0.0.5", forwarding(CLIENT)),
    )
    assert told == [(CLIENT, "https", True), (CLIENT, "https", True), ("10.0.0.5", "http", False)]


def test_names_that_nobody_answers_for_keep_their_addresses(monkeypatch):
    names = Names(monkeypatch, proxy=["10.0.0.5"])
    monkeypatch.setattr(trusted_proxies, "STALE_S", 0.0)
    look_up = names._look_up

    def once(*arguments, **options):
        answer = look_up(*arguments, **options)
        names.addresses.clear()
        return answer

    monkeypatch.setattr(socket, "getaddrinfo", once)
    told = seen_by(["proxy"], *[("10.0.0.5", forwarding(CLIENT))] * 3)
    assert told == [(CLIENT, "https", True)] * 3
