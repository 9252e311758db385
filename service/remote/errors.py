"""What can go wrong between a client and the service.

ClientError
├── ProblemError        the service answered with a problem (RFC 9457)
├── UnreachableError    the service did not answer
├── ProxyUnusableError  the environment names a proxy that cannot be used
├── UnexpectedReplyError  something answered, but not in the service's way
└── WaitTimeoutError    a task did not end in the time it was waited for; also a TimeoutError
"""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

NOTHING_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
"""Failures before the first byte of a request."""
PASSING = (
    httpx.NetworkError,
    httpx.TimeoutException,
    httpx.RemoteProtocolError,
    httpx.ProxyError,
)
"""Failures of the way there and back; the others are mistakes in the request itself."""
BUSY = frozenset({429, 503})
"""Statuses of a service that has no room now; its problem says whether waiting helps."""
BUSY_PROXY = BUSY | {502, 504}
"""The same of a proxy in between, whose answer is no problem object."""

TOO_LARGE = 413
OF_AN_IMAGE = "image-"
"""How the codes of problems begin that are one image's, not the request's."""


class ClientError(Exception):
    """Base of all errors of the client."""


class UnreachableError(ClientError):
    """The service did not answer."""

    def __init__(self, error: httpx.TransportError) -> None:
        url = error.request.url
        self.nothing_sent = isinstance(error, NOTHING_SENT)
        self.is_passing = isinstance(error, PASSING)
        super().__init__(
            f"No answer from {url.scheme}://{url.netloc.decode()}: is the service running?"
        )


class ProxyUnusableError(ClientError):
    """The environment names a proxy that cannot be used."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            "The proxy in HTTP_PROXY, HTTPS_PROXY or ALL_PROXY cannot be used: correct it, or name this service in "
            f"NO_PROXY. {_without_password(reason)}"
        )


class UnexpectedReplyError(ClientError):
    """Something answered that does not speak as the service does."""


class WaitTimeoutError(ClientError, TimeoutError):
    """A task did not end in the time it was waited for; it goes on all the same."""


class ProblemError(ClientError):
    """The service answered with a problem.

    Attributes:
        status: HTTP status.
        code: What is wrong, as a stable word: `label-known`, `overloaded`, ...
        detail: One sentence to act on; also the message of this error.
        errors: Where exactly, if there is more to say: `pointer` and `detail` of each fault.
        request_id: Names the request in the service's log.
        retryable: Whether the same request can succeed later.
        retry_after_s: How long the service asks to wait, if it does.
    """

    def __init__(self, response: httpx.Response) -> None:
        body = _problem(response)
        self.status = response.status_code
        self.code = str(body.get("code", f"http-{self.status}"))
        self.detail = str(body.get("detail", f"The service answered {self.status}."))
        self.errors: list[dict[str, Any]] = list(body.get("errors") or [])
        self.request_id: str | None = body.get("request_id") or response.headers.get("X-Request-Id")
        self.retry_after_s = _retry_after(response)
        self._is_ours = "code" in body
        self.retryable = bool(body.get("retryable", not self._is_ours and self.is_passing))
        super().__init__(self.detail)

    @property
    def is_of_size(self) -> bool:
        """Whether it was too much at once, as whatever stands in between may find it too: less may well be taken."""
        return self.status == TOO_LARGE

    @property
    def is_of_image(self) -> bool:
        """Whether the only image of a request cannot be used; of several, each result says so itself."""
        return self.code.startswith(OF_AN_IMAGE)

    @property
    def is_passing(self) -> bool:
        """Whether the same request may well be answered in a moment."""
        if not self._is_ours:
            return self.status in BUSY_PROXY
        return self.code == "idempotency-in-progress" or (self.retryable and self.status in BUSY)


def _retry_after(response: httpx.Response) -> float | None:
    """Return the seconds in `Retry-After`, which may also be a date."""
    text = response.headers.get("Retry-After", "")
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        seconds = (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):  # TypeError: a date without a zone
        return None
    return max(0.0, seconds)


def _without_password(text: str) -> str:
    return re.sub(r"//[^/\s@]*@", "//", text)


def _problem(response: httpx.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError:
        body = None
    return body if isinstance(body, dict) else {}
