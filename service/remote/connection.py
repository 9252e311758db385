"""How both clients set their connections up."""

import re
import socket
import ssl
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import IO, Any, TypeVar
from urllib.parse import urlsplit

import httpx

from service.remote.calls import Request
from service.remote.errors import ProxyUnusableError

ClientT = TypeVar("ClientT", httpx.Client, httpx.AsyncClient)

CONNECT_S = 5.0
"""Longest wait for a connection."""
SCOPED = re.compile(r"([a-z]+://)\[([0-9a-f:.]+)%(?:25)?([^\]/]+)\]((?::\d+)?)", re.IGNORECASE)
"""An IPv6 address with the interface it is reached by (RFC 6874), also with a bare percent sign as systems write it."""
AROUND_KEYS = " \t\r\n\v\f\0\ufeff\u200b\xa0\"'`"
"""What is taken away from both ends of a key."""


def open_client(kind: Callable[..., ClientT], url: str, key: str, *, timeout_s: float) -> ClientT:
    """Return an `httpx.Client` or `httpx.AsyncClient` of a service.

    A proxy that the environment names is used, unless the service is on this machine or its address names one of this
    machine's interfaces, where none can reach it.

    Raises:
        ValueError: If the address has no scheme or names an interface that is not there, or the key is none.
        ProxyUnusableError: If the environment names a proxy that cannot be used.
    """
    if "://" not in url:
        raise ValueError(f"The address {url} lacks a scheme: write http://{url}")
    reached_at, host = through_interface(url)
    headers = {"Authorization": f"Bearer {clean_key(key)}", "Accept": "application/json"}
    options: dict[str, Any] = {
        "base_url": reached_at,
        "headers": headers if host is None else {"Host": host, **headers},
        "timeout": httpx.Timeout(timeout_s, connect=min(CONNECT_S, timeout_s)),
    }
    if is_loopback(url) or host is not None:
        # The certificates that the environment names are for us all the same.
        return kind(**options, trust_env=False, verify=_trust(reached_at))
    try:
        return kind(**options)
    except (ValueError, ImportError, httpx.InvalidURL) as error:
        raise ProxyUnusableError(str(error)) from error


def _trust(url: str) -> ssl.SSLContext:
    """Return what certificates are believed: none where there will be none, as reading them takes a while."""
    if url.lower().startswith("http:"):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return httpx.create_ssl_context()


def clean_key(text: str) -> str:
    r"""Return a key without what files, editors and shells put around it: line ends, blanks, a byte order mark, quotes.

    Raises:
        ValueError: If what remains cannot be a key.

    Example:
        >>> clean_key("\ufefffil_abc\r\n"), clean_key('"fil_abc"'), clean_key("Bearer fil_abc")
        ('fil_abc', 'fil_abc', 'fil_abc')
    """
    key = text.strip(AROUND_KEYS)
    if key[:7].lower() == "bearer ":
        key = key[7:].strip(AROUND_KEYS)
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise ValueError(
            "The key has characters in it that no key has: copy it again, whole and alone."
        )
    return key


def through_interface(url: str) -> tuple[str, str | None]:
    """Return an address as httpx connects to it, and if it names an interface the `Host` to send, which does not.

    Raises:
        ValueError: If this machine has no such interface.

    Example:
        >>> through_interface("http://[fe80::1%251]:8000")
        ('http://[fe80::1%1]:8000', '[fe80::1]:8000')
        >>> through_interface("http://[::1]:8000")
        ('http://[::1]:8000', None)
    """
    match = SCOPED.match(url)
    if match is None:
        return url, None
    before, address, interface, port = match.groups()
    known = {text for number, name in socket.if_nameindex() for text in (str(number), name)}
    if interface not in known:
        raise ValueError(f"This machine has no network interface {interface}, which {url} names.")
    after = url[match.end() :]
    return f"{before}[{address}%{interface}]{port}{after}", f"[{address}]{port}"


def is_loopback(url: str) -> bool:
    """Return whether `url` is on this machine.

    Example:
        >>> is_loopback("http://127.0.0.1:8000"), is_loopback("https://example.org")
        (True, False)
    """
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def request_options(request: Request, body: IO[bytes] | None, timeout_s: float) -> dict[str, Any]:
    """Return how to send a request; of a long body, all but its content."""
    options = dict(request.options)
    if body is not None:
        # Known in advance, so that the service can refuse what is too large before it reads it.
        options["headers"] = {**options["headers"], "Content-Length": str(body.seek(0, 2))}
        body.seek(0)
    if request.silence_s is not None:
        longest_s = max(request.silence_s, timeout_s)
        options["timeout"] = httpx.Timeout(longest_s, connect=CONNECT_S)
    return options


@contextmanager
def arriving(file: Path) -> Iterator[IO[bytes]]:
    """Open a file to write; it takes its name, and the place of one before it, when the block ends well."""
    with tempfile.NamedTemporaryFile(
        prefix=f".{file.name}.", dir=file.parent, delete=False
    ) as temporary:
        try:
            yield temporary
        except BaseException:
            Path(temporary.name).unlink()
            raise
    Path(temporary.name).replace(file)
