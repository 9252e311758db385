"""How both clients set their connections up."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import httpx

from service.remote.calls import Request

CONNECT_S = 5.0
"""Longest wait for a connection."""


def client_options(url: str, key: str, *, timeout_s: float) -> dict[str, Any]:
    """Return what `httpx.Client` and `httpx.AsyncClient` are made with.

    Raises:
        ValueError: If the address has no scheme.
    """
    if "://" not in url:
        raise ValueError(f"The address {url} lacks a scheme: write http://{url}")
    return {
        "base_url": url,
        "headers": {"Authorization": f"Bearer {key}", "Accept": "application/json"},
        "timeout": httpx.Timeout(timeout_s, connect=min(CONNECT_S, timeout_s)),
    }


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
