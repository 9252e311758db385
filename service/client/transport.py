"""How the client's requests travel: retried when that can help, problems raised as errors.

Every POST carries an `Idempotency-Key`, so that sending it again never does a thing twice.

    ClientError
    ├── ProblemError        the service answered with a problem (RFC 9457)
    └── UnreachableError    the service did not answer
"""

import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx

RETRIES = 4
"""How often a request is sent again while the service is overloaded or restarting."""
FIRST_WAIT_S = 0.25
"""Pause before the first retry where the service names none; doubled each time."""
MAX_WAIT_S = 10.0
"""Longest pause before a retry, whatever `Retry-After` says."""
PAGE = 200
"""Items a page: the most the service gives."""


class ClientError(Exception):
    """Base of all errors of the client."""


class UnreachableError(ClientError):
    """The service did not answer."""


class ProblemError(ClientError):
    """The service answered with a problem: its status, its code, and a detail to act on."""

    def __init__(self, response: httpx.Response) -> None:
        body = _problem(response)
        self.status = response.status_code
        self.code = str(body.get("code", f"http-{self.status}"))
        self.detail = str(body.get("detail", f"The service answered {self.status}."))
        self.errors: list[dict[str, Any]] = list(body.get("errors") or [])
        self.request_id = body.get("request_id")
        self.retryable = bool(body.get("retryable", False))
        self.retry_after_s = _retry_after(response)
        super().__init__(self.detail)

    @property
    def is_passing(self) -> bool:
        """Whether the same request may well be answered in a moment."""
        return self.status in {429, 503} or self.code == "idempotency-in-progress"


class Transport:
    """Connections to one service with one key."""

    def __init__(self, url: str, key: str, *, timeout_s: float) -> None:
        self.url = url.rstrip("/")
        self._http = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {key}", "Accept": "application/json"},
            timeout=httpx.Timeout(timeout_s, connect=5.0),
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def get(self, path: str, *, params: dict[str, Any] | None = None) -> Any:
        """Return the JSON at a path."""
        return self.send("GET", path, params=params).json()

    def post(self, path: str, *, headers: dict[str, str] | None = None, **content: Any) -> Any:
        """Send something and return the JSON that is answered; `content` as `send` takes it."""
        headers = {"Idempotency-Key": secrets.token_hex(16)} | (headers or {})
        return self.send("POST", path, headers=headers, **content).json()

    def pages(self, path: str, *, limit: int | None = None) -> Iterator[Any]:
        """Yield the items of a list over all its pages, at most `limit`."""
        params: dict[str, Any] = {"limit": min(limit or PAGE, PAGE)}
        left = limit
        while True:
            page = self.get(path, params=params)
            yield from page["items"][:left]
            left = None if left is None else left - len(page["items"])
            if not page.get("next_cursor") or (left is not None and left <= 0):
                return
            params["cursor"] = page["next_cursor"]

    def send(
        self,
        method: str,
        path: str,
        *,
        body: Callable[[], Iterator[bytes]] | None = None,
        **rest: Any,
    ) -> httpx.Response:
        """Send a request, again if need be, and return the answer.

        Args:
            method: HTTP method.
            path: Path below the service's address.
            body: Makes the chunks of a long body, anew for each attempt.
            rest: Anything else `httpx.Client.request` takes.

        Raises:
            ProblemError: If the service says no.
            UnreachableError: If it does not answer.
        """

        def attempt() -> httpx.Response:
            content = rest if body is None else rest | {"content": body()}
            return self._send_once(method, path, content)

        for number in range(RETRIES):
            wait_s = FIRST_WAIT_S * 2**number
            try:
                return attempt()
            except UnreachableError:
                time.sleep(wait_s)
            except ProblemError as problem:
                if not problem.is_passing:
                    raise
                time.sleep(min(problem.retry_after_s or wait_s, MAX_WAIT_S))
        return attempt()

    def _send_once(self, method: str, path: str, content: dict[str, Any]) -> httpx.Response:
        try:
            response = self._http.request(method, path, **content)
        except httpx.TransportError as error:
            message = f"No answer from {self.url}: is the service running?"
            raise UnreachableError(message) from error
        if not response.is_success:
            raise ProblemError(response)
        return response


def _retry_after(response: httpx.Response) -> float | None:
    try:
        return float(response.headers["Retry-After"])
    except (KeyError, ValueError):
        return None


def _problem(response: httpx.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError:
        body = None
    return body if isinstance(body, dict) else {}
