"""HTTP/1.1 over a socket, with as little work as possible: a thousand clients must not be what is measured."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Self

HEAD_END = b"\r\n\r\n"
MOST_HEAD = 65_536


@dataclass(frozen=True)
class Address:
    """Where the service listens."""

    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Self:
        """Return that of a URL such as `http://127.0.0.1:8000`."""
        host, _, port = url.removeprefix("http://").rpartition(":")
        return cls(host, int(port))


@dataclass(frozen=True)
class Reply:
    """One answer."""

    status: int
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes = b""

    @property
    def is_problem(self) -> bool:
        """Whether it is a problem document."""
        return self.headers.get("content-type", "").startswith("application/problem+json")

    @property
    def retry_after_s(self) -> float | None:
        """After how long it may be asked again; None if it does not say."""
        value = self.headers.get("retry-after", "")
        return float(value) if value.isdigit() else None

    @property
    def is_refusal(self) -> bool:
        """Whether it refuses honestly: it says so in a problem document, and when to come again."""
        known = self.status in (429, 503, 507)
        return known and self.is_problem and self.retry_after_s is not None

    def json(self) -> Any:
        """Return the body."""
        return json.loads(self.body)


class Connection:
    """One connection, opened when it is first needed and again when it was closed. Errors are those of sockets."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.has_answered = False
        """Whether an answer came on it before: then the service may have closed it for being idle."""

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Return its two ends."""
        if self._streams is not None and self._streams[0].at_eof():
            self.close()
        if self._streams is None:
            self._streams = await asyncio.open_connection(
                self._address.host, self._address.port, limit=MOST_HEAD
            )
            self.has_answered = False
        return self._streams

    async def ask(
        self, method: str, path: str, headers: dict[str, str], body: bytes = b""
    ) -> Reply:
        """Send a request and return the whole answer.

        Raises:
            OSError, EOFError: If the connection is closed before that.
            ValueError: If what comes is no HTTP.
        """
        reader, writer = await self.open()
        writer.write(head(method, path, {**headers, "Content-Length": str(len(body))}) + body)
        await writer.drain()
        reply = await read_head(reader)
        data = b"".join([piece async for piece in pieces(reader, reply)])
        self.has_answered = True
        if reply.headers.get("connection", "").lower() == "close":
            self.close()
        return Reply(reply.status, reply.headers, data)

    def close(self) -> None:
        """Close it. A no-op if it is closed."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


def head(method: str, path: str, headers: dict[str, str]) -> bytes:
    """Return the head of a request."""
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: load",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join(lines).encode() + HEAD_END


async def read_head(reader: asyncio.StreamReader) -> Reply:
    """Read the head of an answer, without its body.

    Raises:
        EOFError: If the connection ends before.
        ValueError: If it is none.
    """
    first, *lines = (await reader.readuntil(HEAD_END)).decode("latin-1").split("\r\n")
    version, status, *_ = first.split(" ", 2)
    if not version.startswith("HTTP/1."):
        raise ValueError(first[:40])
    named = (line.partition(":") for line in lines if line)
    return Reply(int(status), {name.lower(): value.strip() for name, _, value in named})


async def pieces(reader: asyncio.StreamReader, reply: Reply) -> AsyncIterator[bytes]:
    """Yield the body as it comes.

    Raises:
        EOFError: If the connection ends before the body.
        ValueError: If the body is not as its head says.
    """
    if reply.headers.get("transfer-encoding") == "chunked":
        while size := int((await reader.readuntil(b"\r\n")).strip(), 16):
            yield await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readexactly(2)
    elif "content-length" in reply.headers:
        yield await reader.readexactly(int(reply.headers["content-length"]))
    else:
        yield await reader.read()
