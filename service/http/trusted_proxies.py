"""Which proxies are believed about where a request comes from: by address, by network, or by name.

A name is for a proxy whose address is not known before it runs, as in a composition of containers. It stands for the
addresses that it has now. They are asked for when an address that is not believed says something about a client, and
now and then as long as requests come.
"""

import asyncio
import ipaddress
import time
from collections.abc import Iterable
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

FORWARDED = (b"x-forwarded-for", b"x-forwarded-proto")
AGAIN_S = 1.0
"""Shortest time between two times that names are asked for."""
STALE_S = 30.0
"""Age after which the addresses of names are asked for again, although the sender is believed."""
ANSWER_S = 2.0
"""How long a request waits for the addresses of names."""


class TrustedProxies:
    """Gives a request its client's address and scheme, where a proxy that is believed tells them.

    Args:
        app: What comes after.
        proxies: Addresses, networks and names; `*` alone is everybody.
    """

    def __init__(self, app: ASGIApp, proxies: Iterable[str]) -> None:
        self._app = app
        proxies = tuple(proxies)
        self._addresses = [proxy for proxy in proxies if not is_name(proxy)]
        self._names = [proxy for proxy in proxies if is_name(proxy)]
        self._named: frozenset[str] = frozenset()
        self._headers = self._believing(())
        self._look: asyncio.Task[None] | None = None
        self._looked_at = float("-inf")

    async def believes(self, scope: Scope) -> bool:
        """Return whether what a request says about its client is believed; true for one that says nothing."""
        if not any(name in FORWARDED for name, _ in scope["headers"]):
            return True
        client = scope.get("client")
        sender = str(client[0]) if client else ""
        age_s = time.monotonic() - self._looked_at
        if self._names and age_s >= STALE_S:
            self._begin_look()
        if sender not in self._headers.trusted_hosts and self._names:
            if age_s >= AGAIN_S:
                self._begin_look()
            if self._look is not None:
                await asyncio.wait([self._look], timeout=ANSWER_S)
        return sender in self._headers.trusted_hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; `believes` was asked about it before."""
        await self._headers(scope, receive, send)

    def _begin_look(self) -> None:
        if self._look is None or self._look.done():
            self._looked_at = time.monotonic()
            self._look = asyncio.create_task(self._take_look())

    async def _take_look(self) -> None:
        """Ask for the addresses of the names; where nothing answers, the last ones hold."""
        loop = asyncio.get_running_loop()
        answers = await asyncio.gather(
            *(loop.getaddrinfo(name, None) for name in self._names), return_exceptions=True
        )
        found = [answer for answer in answers if not isinstance(answer, BaseException)]
        named = frozenset(str(info[4][0]) for answer in found for info in answer)
        if found and named != self._named:
            self._named = named
            self._headers = self._believing(named)

    def _believing(self, named: Iterable[str]) -> Any:
        app: Any = self._app
        return ProxyHeadersMiddleware(app, [*self._addresses, *sorted(named)])


def is_name(proxy: str) -> bool:
    """Return whether this is to be looked up, being neither an address, a network nor everybody.

    Example:
        >>> [is_name(text) for text in ("proxy", "10.0.0.1", "::1", "10.0.0.0/8", "*")]
        [True, False, False, False, False]
    """
    if proxy == "*" or "/" in proxy:
        return False
    try:
        ipaddress.ip_address(proxy)
    except ValueError:
        return True
    return False
