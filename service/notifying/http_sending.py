"""One try to send a message over HTTP: to an address that was checked, within a deadline, and no further.

No redirect is followed, no proxy of the environment is asked, and of the answer only the status counts.
"""

import ssl
import time
from collections.abc import Iterable
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any

import httpcore
import httpx

from registry.deliveries import Claimed, Outcome
from service.notifying.addresses import (
    AddressRefusedError,
    Allowed,
    Resolve,
    checked_addresses,
    resolve,
)
from service.notifying.messages import body_of, headers_of

CONNECT_S = 5.0
DEADLINE_S = 15.0
"""Of a whole try, but for finding the address, which the system's resolver bounds."""
ANSWER_BYTES = 4096
ANSWER_S = 1.0
"""How much of an answer's body is read, and for how long: nothing is done with it."""
SUCCESS = range(200, 300)
REDIRECTS = range(300, 400)
GONE = 410


class HttpSender:
    """Sends messages to URLs."""

    def __init__(
        self,
        allowed: Allowed,
        *,
        user_agent: str,
        deadline_s: float = DEADLINE_S,
        tls: ssl.SSLContext | None = None,
        ask: Resolve = resolve,
    ) -> None:
        """Connect to nothing yet.

        Args:
            allowed: Where messages may go besides the public internet.
            user_agent: What the service calls itself.
            deadline_s: Seconds that a try may take.
            tls: Which certificates are believed; by default those of certifi, or of `SSL_CERT_FILE`.
            ask: Finds the addresses of a host.
        """
        self._allowed = allowed
        self._user_agent = user_agent
        self._deadline_s = deadline_s
        self._given_tls = tls
        self._ask = ask

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        # Reading all certificates takes a while: not for whoever sends nothing.
        return self._given_tls or httpx.create_ssl_context()

    def send(self, message: Claimed) -> Outcome:
        """Try once, and return what came of it."""
        body = body_of(message)
        headers = {
            **headers_of(message, body, int(time.time())),
            "user-agent": self._user_agent,
            "connection": "close",
        }
        began = time.monotonic()
        try:
            status, answer_headers = self._post(message.target, headers, body)
        except AddressRefusedError as error:
            return Outcome(None, _since(began), str(error))
        except (httpcore.TimeoutException, TimeoutError):
            return Outcome(None, _since(began), "The receiver did not answer in time.")
        except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
            return Outcome(None, _since(began), _sentence(error))
        return _outcome(status, answer_headers, _since(began))

    def _post(
        self, url: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, list[tuple[bytes, bytes]]]:
        backend = PinnedBackend(
            self._allowed, deadline=time.monotonic() + self._deadline_s, ask=self._ask
        )
        timeout = {"connect": CONNECT_S, "read": self._deadline_s, "write": self._deadline_s}
        with (
            httpcore.ConnectionPool(
                ssl_context=self._tls, http2=False, retries=0, network_backend=backend
            ) as pool,
            pool.stream(
                "POST",
                url,
                headers=list(headers.items()),
                content=body,
                extensions={"timeout": {**timeout, "pool": CONNECT_S}},
            ) as response,
        ):
            backend.hurry(ANSWER_S)
            _take_some(response)
            return response.status, list(response.headers)


class PinnedBackend(httpcore.NetworkBackend):
    """Connects to an address that was checked, and to nothing that is found out later; all within one deadline.

    TLS goes on to verify the name in the URL, and `Host` names it.
    """

    def __init__(self, allowed: Allowed, *, deadline: float, ask: Resolve) -> None:
        self._allowed = allowed
        self._ask = ask
        self.deadline = deadline
        """By the monotonic clock."""
        self._system = httpcore.SyncBackend()

    def hurry(self, most_s: float) -> None:
        """Let the deadline be sooner, if it is not yet."""
        self.deadline = min(self.deadline, time.monotonic() + most_s)

    def left(self, timeout: float | None) -> float:
        """Return the seconds that a step may take.

        Raises:
            TimeoutError: If the deadline is over.
        """
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left if timeout is None else min(timeout, left)

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first address that answers."""
        refused: Exception | None = None
        for address in checked_addresses(host, port, self._allowed, self._ask):
            try:
                stream = self._system.connect_tcp(address, port, timeout=self.left(timeout))
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                refused = error
                continue
            return _DeadlineStream(stream, self)
        assert refused is not None
        raise refused


class _DeadlineStream(httpcore.NetworkStream):
    """A connection whose every step ends by the deadline, however little comes at a time."""

    def __init__(self, stream: httpcore.NetworkStream, backend: PinnedBackend) -> None:
        self._stream = stream
        self._backend = backend

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._backend.left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._backend.left(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        stream = self._stream.start_tls(ssl_context, server_hostname, self._backend.left(timeout))
        return _DeadlineStream(stream, self._backend)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _take_some(response: httpcore.Response) -> None:
    """Read the beginning of an answer's body, so that its sender is not cut off; whatever becomes of it."""
    n_bytes = 0
    try:
        for chunk in response.iter_stream():
            n_bytes += len(chunk)
            if n_bytes >= ANSWER_BYTES:
                return
    except (
        httpcore.TimeoutException,
        httpcore.NetworkError,
        httpcore.ProtocolError,
        OSError,
    ):
        return


def _outcome(status: int, headers: list[tuple[bytes, bytes]], duration_ms: int) -> Outcome:
    if status in SUCCESS:
        return Outcome(status, duration_ms)
    if status in REDIRECTS:
        error = f"The receiver redirects ({status}), which is not followed: give its final address."
    elif status == GONE:
        error = "The receiver wants no more messages (410)."
    else:
        error = f"The receiver answered {status}."
    return Outcome(
        status,
        duration_ms,
        error,
        retry_after_s=_retry_after_s(headers),
        is_gone=status == GONE,
    )


def _retry_after_s(headers: list[tuple[bytes, bytes]]) -> float | None:
    text = {name.lower(): value for name, value in headers}.get(b"retry-after", b"").decode(
        "latin-1"
    )
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _sentence(error: Exception) -> str:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLError):
        cause = cause.__cause__ or cause.__context__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"The receiver's certificate cannot be trusted: {cause.verify_message}."
    if isinstance(cause, ssl.SSLError):
        return "The receiver does not speak TLS as it should."
    if isinstance(error, httpcore.ProtocolError):
        return "The receiver does not speak HTTP as it should."
    if isinstance(error, httpcore.ConnectError):
        return "The receiver cannot be reached: nothing takes the connection."
    if isinstance(error, httpcore.NetworkError):
        return "The receiver has closed the connection without an answer."
    return "The receiver's name leads to no address."


def _since(began: float) -> int:
    return round(1000 * (time.monotonic() - began))
