"""What happens to every request before a route sees it: id, caps, body limit, key, headers, metrics.

One pure ASGI middleware, so that nothing is buffered and a refusal costs no body.
"""

import asyncio
import base64
import re
import time
from contextlib import AbstractContextManager, nullcontext

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from registry.ids import new_id
from service.http.bodies import (
    SMALL_BODY_BYTES,
    STRANGER_BODY_S,
    BodyBudget,
    BodyMeter,
    Pace,
    body_limit,
    check_declared_length,
    goes_to_disk,
    holder_of,
)
from service.http.connection_middleware import HEALTH
from service.http.demands import BODY_OVERHEAD, Demands, DemandTable
from service.http.in_flight import InFlightLimit
from service.http.quotas import Quotas
from service.http.security import (
    SAFE_METHODS,
    KeyRing,
    Principal,
    client_address,
    unauthorized,
)
from service.http.trusted_proxies import TrustedProxies
from service.metrics import Metrics
from service.problems import PageFor, Problem, problem_response
from service.settings import ServiceSettings, host_name

log = structlog.get_logger(__name__)

MAX_HEADERS = 64
MAX_HEADER_BYTES = 16 * 1024
MAX_URI_BYTES = 8 * 1024
_HOST = re.compile(r"^(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?$")
_SHA256 = re.compile(r"(?:^|,)\s*sha-256=:([A-Za-z0-9+/]{43}=):")
_REQUEST_ID = re.compile(r"^[A-Za-z0-9._:-]{1,128}$")

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; font-src 'self'; "
        "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
    ),
    "Cache-Control": "no-store",
}


_SECURITY_FIELDS = [
    (name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items()
]


class AdmissionMiddleware:
    """The outermost layer of the app."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        settings: ServiceSettings,
        keys: KeyRing,
        quotas: Quotas,
        metrics: Metrics,
        page_for: PageFor,
        demands: DemandTable,
    ) -> None:
        self.app = app
        self._demands = demands
        self._page_for = page_for
        self.settings = settings
        self.keys = keys
        self.quotas = quotas
        self.metrics = metrics
        largest = max(settings.max_predict_bytes + BODY_OVERHEAD, settings.max_json_task_bytes)
        self.bodies = BodyBudget(settings.max_held_body_bytes, largest)
        self.pace = Pace(settings.large_body_bytes_per_s)
        self.in_flight = InFlightLimit(settings.max_connections)
        # Ours rather than uvicorn's, so that a header nobody believes is told.
        self._proxies = TrustedProxies(self._admit, settings.forwarded_allow_ips)
        self._has_warned_of_proxy = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if not await self._proxies.believes(scope) and not self._has_warned_of_proxy:
            self._warn_of_proxy(client_address(scope))
        await self._proxies(scope, receive, send)

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        request_id = _request_id(headers)
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        state["demands"] = demands = self._demands.find(scope["method"], scope["path"])
        sender = _Sender(send, scope, self.keys)
        started = time.perf_counter()
        try:
            await self._serve(scope, headers, demands, receive, sender)
        except Problem as problem:
            await self._refuse(problem, scope, receive, sender)
        except Exception:
            # Whatever went wrong inside: the client gets an answer, the log the rest.
            log.exception("unexpected_error", request_id=request_id)
            await self._refuse(Problem("internal"), scope, receive, sender)
        finally:
            seconds = time.perf_counter() - started
            self.metrics.observe_request(scope, sender.status, seconds)
            _log_change(scope, sender.status, seconds)

    async def _serve(
        self,
        scope: Scope,
        headers: Headers,
        demands: Demands,
        receive: Receive,
        send: "_Sender",
    ) -> None:
        self._check_shape(scope, headers)
        principal = await self.keys.admit(scope, headers, demands)
        scope["state"]["principal"] = principal
        self.quotas.admit(scope, principal, demands)
        meter = BodyMeter(
            body_limit(demands, principal, self.settings),
            _declared_sha256(headers),
            self.bodies,
            holder_of(scope, principal),
            is_held=not goes_to_disk(demands, headers),
        )
        scope["state"]["body_meter"] = meter
        check_declared_length(headers, meter)
        if principal is None:
            receive = _with_deadline(receive)

        async def metered() -> Message:
            message = await receive()
            if message["type"] == "http.request":
                meter.take(message.get("body", b""))
                if meter.size > SMALL_BODY_BYTES:
                    await self.pace.take(len(message.get("body", b"")))
                if not message.get("more_body", False):
                    meter.finish()
            return message

        with self._counted(scope, principal):
            try:
                await self.app(scope, metered, send)
            finally:
                meter.release()

    async def _refuse(
        self, problem: Problem, scope: Scope, receive: Receive, send: "_Sender"
    ) -> None:
        """Answer with a problem, unless an answer has begun already."""
        if send.status is None:
            request_id: str = scope["state"]["request_id"]
            answer = self._page_for(problem, scope) or problem_response(problem, request_id)
            await answer(scope, receive, send)

    def _counted(self, scope: Scope, principal: Principal | None) -> AbstractContextManager[None]:
        """Count a request of a key for as long as it is under way, unless it asks for health."""
        if principal is None or scope["path"] in HEALTH:
            return nullcontext()
        return self.in_flight.counted(principal.key_id)

    def _check_shape(self, scope: Scope, headers: Headers) -> None:
        raw = scope["headers"]
        if len(raw) > MAX_HEADERS or sum(len(k) + len(v) for k, v in raw) > MAX_HEADER_BYTES:
            raise Problem("headers-too-large")
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > MAX_URI_BYTES:
            raise Problem("uri-too-long")
        hosts = headers.getlist("host")
        host = hosts[0] if len(hosts) == 1 else ""  # of two, a proxy may have believed the other
        # Who balances loads asks for health by an address, or without any: HAProxy and Kubernetes do.
        if scope["path"] not in HEALTH and not self._answers_to(host):
            raise Problem("bad-host")
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise Problem("unsupported-content-encoding")

    def _answers_to(self, host: str) -> bool:
        allowed = self.settings.allowed_hosts
        return _HOST.match(host) is not None and ("*" in allowed or host_name(host) in allowed)

    def _warn_of_proxy(self, sender: str) -> None:
        """Say, once, that a proxy seems to be there that is not believed: limits by address hold it for one client."""
        self._has_warned_of_proxy = True
        address = sender[:100]
        reason = (
            f"A request from {address} came with X-Forwarded-For or X-Forwarded-Proto, which is not believed. If that "
            f"is your proxy, set FILOPODIA_FORWARDED_ALLOW_IPS={address}."
        )
        log.warning("forwarded_header_ignored", reason=reason)


class _Sender:
    """Adds the headers every answer has, and remembers the status.

    Nothing more goes out to a key that was revoked or has expired since it was admitted: what a long poll was waiting
    for becomes a 401, and a stream ends. The answer to a change that was made goes out all the same.
    """

    def __init__(self, send: Send, scope: Scope, keys: KeyRing) -> None:
        self._send = send
        self._scope = scope
        self._keys = keys
        self._is_counted = False
        self._is_over = False
        self.status: int | None = None

    async def __call__(self, message: Message) -> None:
        if self._is_over:
            return
        is_start = message["type"] == "http.response.start"
        if (is_start or message.get("more_body", False)) and self._is_shut_out():
            self._is_over = True
            await self._shut_out()
            return
        if is_start:
            self._complete(message)
        await self._send(message)

    def _complete(self, message: Message) -> None:
        state = self._scope["state"]
        self.status = message["status"]
        headers = MutableHeaders(scope=message)
        self._is_counted = "content-length" in headers
        headers["X-Request-Id"] = state["request_id"]
        there = {name for name, _ in headers.raw}
        headers.raw.extend(field for field in _SECURITY_FIELDS if field[0] not in there)
        for name, value in state.get("rate_limit", {}).items():
            headers.setdefault(name, value)
        if self._scope["scheme"] == "https":
            headers.setdefault("Strict-Transport-Security", "max-age=31536000")

    def _is_shut_out(self) -> bool:
        principal: Principal | None = self._scope["state"].get("principal")
        if principal is None or self._scope["method"] not in SAFE_METHODS:
            return False
        return not self._keys.is_valid(principal)

    async def _shut_out(self) -> None:
        if self.status is None:
            answer = problem_response(unauthorized(), self._scope["state"]["request_id"])
            start = {
                "type": "http.response.start",
                "status": answer.status_code,
                "headers": list(answer.raw_headers),
            }
            self._complete(start)
            await self._send(start)
            await self._send({"type": "http.response.body", "body": answer.body})
        elif not self._is_counted:
            await self._send({"type": "http.response.body", "body": b""})
        # One whose length was announced cannot end well: the connection is closed when the app returns.


def _with_deadline(receive: Receive) -> Receive:
    """Return a receiver that gives up on a body that takes longer than one without a key may.

    Raises:
        Problem: `request-timeout`.
    """
    until: float | None = time.monotonic() + STRANGER_BODY_S

    async def hurried() -> Message:
        nonlocal until
        try:
            async with asyncio.timeout(until and until - time.monotonic()):
                message = await receive()
        except TimeoutError:
            raise Problem("request-timeout") from None
        if not message.get("more_body", False):
            until = None
        return message

    return hurried


def _log_change(scope: Scope, status: int | None, seconds: float) -> None:
    """Log who changed what, in the dashboard too. Reading and predicting are counted in the metrics only."""
    if scope["method"] in SAFE_METHODS or scope["state"]["demands"].predicts:
        return
    principal = scope["state"].get("logged_in") or scope["state"].get("principal")
    log.info(
        "request",
        method=scope["method"][:16],
        path=scope["path"][:200],
        status=status,
        seconds=round(seconds, 3),
        key=getattr(principal, "key_id", None),
        request_id=scope["state"]["request_id"],
    )


def _request_id(headers: Headers) -> str:
    given = headers.get("x-request-id", "")
    return given if _REQUEST_ID.match(given) else new_id("req")


def _declared_sha256(headers: Headers) -> bytes | None:
    """Return the SHA-256 that `Content-Digest` (RFC 9530) declares, if it does."""
    match = _SHA256.search(headers.get("content-digest", ""))
    return base64.b64decode(match[1]) if match else None
