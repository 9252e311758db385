"""What happens to every request before a route sees it: id, caps, body limit, key, headers, metrics.

One pure ASGI middleware, so that nothing is buffered and a refusal costs no body.
"""

import asyncio
import base64
import re
import time
from dataclasses import dataclass
from hashlib import sha256

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from registry.ids import new_id
from service.dashboard.errors import page_for
from service.http.problems import Problem, problem_response
from service.http.quotas import Quotas
from service.http.security import SAFE_METHODS, KeyRing, Principal, unauthorized
from service.metrics import Metrics
from service.settings import ServiceSettings, host_name

log = structlog.get_logger(__name__)

MAX_HEADERS = 64
MAX_HEADER_BYTES = 16 * 1024
MAX_URI_BYTES = 8 * 1024
BODY_OVERHEAD = 1024 * 1024
"""Room for the multipart framing around files that together reach a limit."""

SMALL_BODY_BYTES = 1024 * 1024
"""What of a body is read as it comes, before `Pace` counts."""
IMPORT_PATH = "/v1/learners/import"
_HOST = re.compile(r"^(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?$")
_SHA256 = re.compile(r"(?:^|,)\s*sha-256=:([A-Za-z0-9+/]{43}=):")
_REQUEST_ID = re.compile(r"^[A-Za-z0-9._:-]{1,128}$")
_TASK_POST = re.compile(r"^/v1/learners/[^/]+/tasks$")
_PREDICT_POST = re.compile(r"^/v1/learners/[^/]+/predictions$|^/admin/")

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


@dataclass
class BodyBudget:
    """A bound on the bodies that all requests together hold in memory. For one event loop."""

    most_bytes: int
    held_bytes: int = 0

    def take(self, n_bytes: int) -> None:
        """Count bytes in.

        Raises:
            Problem: `overloaded`, if there is no room for them; they are not counted then.
        """
        if self.held_bytes + n_bytes > self.most_bytes:
            raise Problem("overloaded")
        self.held_bytes += n_bytes

    def give_back(self, n_bytes: int) -> None:
        """Count bytes out again."""
        self.held_bytes -= n_bytes


@dataclass
class Pace:
    """How fast the large bodies of all requests together are read. For one event loop.

    Reading as fast as a sender sends takes the processor from those who want a prediction.
    """

    bytes_per_s: int
    """0 is as fast as they come."""
    free_at: float = 0.0
    """When the bytes read so far are paid for, on the monotonic clock."""

    async def take(self, n_bytes: int) -> None:
        """Wait until the next bytes may be read."""
        if self.bytes_per_s:
            now = time.monotonic()
            self.free_at = max(now, self.free_at) + n_bytes / self.bytes_per_s
            await asyncio.sleep(self.free_at - now)


@dataclass
class BodyMeter:
    """Counts a request's body as it comes, stops it at its limit, and compares it with its Content-Digest."""

    limit: int
    expected_sha256: bytes | None = None
    budget: BodyBudget | None = None
    """Where it is counted as long as it is held; None for one that goes to the disk as it comes."""
    size: int = 0
    held: int = 0

    def __post_init__(self) -> None:
        self._digest = sha256()

    def take(self, chunk: bytes) -> None:
        """Count one chunk.

        Raises:
            Problem: If the body is longer than its limit.
        """
        self.size += len(chunk)
        if self.size > self.limit:
            raise Problem("body-too-large")
        if self.budget is not None:
            self.budget.take(len(chunk))
            self.held += len(chunk)
        if self.expected_sha256 is not None:
            self._digest.update(chunk)

    def finish(self) -> None:
        """Check the whole body.

        Raises:
            Problem: If its digest is not the one declared.
        """
        if self.expected_sha256 not in (None, self._digest.digest()):
            raise Problem("digest-mismatch")

    def release(self) -> None:
        """Let the body go: its request has been answered."""
        if self.budget is not None:
            self.budget.give_back(self.held)
        self.held = 0


class Frontier:
    """The outermost layer of the app."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        settings: ServiceSettings,
        keys: KeyRing,
        quotas: Quotas,
        metrics: Metrics,
    ) -> None:
        self.app = app
        self.settings = settings
        self.keys = keys
        self.quotas = quotas
        self.metrics = metrics
        self.bodies = BodyBudget(settings.max_held_body_bytes)
        self.pace = Pace(settings.large_body_bytes_per_s)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = _request_id(headers)
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        sender = _Sender(send, scope, self.keys)
        started = time.perf_counter()
        try:
            await self._serve(scope, headers, receive, sender)
        except Problem as problem:
            await _refuse(problem, scope, receive, sender)
        except Exception:
            # Whatever went wrong inside: the client gets an answer, the log the rest.
            log.exception("unexpected_error", request_id=request_id)
            await _refuse(Problem("internal"), scope, receive, sender)
        finally:
            seconds = time.perf_counter() - started
            self.metrics.observe_request(scope, sender.status, seconds)
            _log_change(scope, sender.status, seconds)

    async def _serve(
        self, scope: Scope, headers: Headers, receive: Receive, send: "_Sender"
    ) -> None:
        self._check_shape(scope, headers)
        principal = await self.keys.admit(scope, headers)
        scope["state"]["principal"] = principal
        self.quotas.admit(scope, principal)
        meter = BodyMeter(
            self._body_limit(scope),
            _declared_sha256(headers),
            None if _goes_to_disk(scope, headers) else self.bodies,
        )
        scope["state"]["body_meter"] = meter
        _check_declared_length(headers, meter)

        async def metered() -> Message:
            message = await receive()
            if message["type"] == "http.request":
                meter.take(message.get("body", b""))
                if meter.size > SMALL_BODY_BYTES:
                    await self.pace.take(len(message.get("body", b"")))
                if not message.get("more_body", False):
                    meter.finish()
            return message

        try:
            await self.app(scope, metered, send)
        finally:
            meter.release()

    def _check_shape(self, scope: Scope, headers: Headers) -> None:
        raw = scope["headers"]
        if len(raw) > MAX_HEADERS or sum(len(k) + len(v) for k, v in raw) > MAX_HEADER_BYTES:
            raise Problem("headers-too-large")
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > MAX_URI_BYTES:
            raise Problem("uri-too-long")
        hosts = headers.getlist("host")
        host = hosts[0] if len(hosts) == 1 else ""  # of two, a proxy may have believed the other
        allowed = self.settings.allowed_hosts
        if not _HOST.match(host) or ("*" not in allowed and host_name(host) not in allowed):
            raise Problem("bad-host")
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise Problem("unsupported-content-encoding")

    def _body_limit(self, scope: Scope) -> int:
        if scope["method"] != "POST":
            return self.settings.max_json_bytes
        if scope["path"] == IMPORT_PATH:
            return self.settings.max_bundle_bytes
        if _TASK_POST.match(scope["path"]):
            return self.settings.max_task_bytes + BODY_OVERHEAD
        if _PREDICT_POST.match(scope["path"]):
            return self.settings.max_predict_bytes + BODY_OVERHEAD
        return self.settings.max_json_bytes


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
        for name, value in {**SECURITY_HEADERS, **state.get("rate_limit", {})}.items():
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


async def _refuse(problem: Problem, scope: Scope, receive: Receive, send: _Sender) -> None:
    """Answer with a problem, unless an answer has begun already."""
    if send.status is None:
        request_id: str = scope["state"]["request_id"]
        answer = page_for(problem, scope) or problem_response(problem, request_id)
        await answer(scope, receive, send)


def _log_change(scope: Scope, status: int | None, seconds: float) -> None:
    """Log who changed what. Reading and predicting are counted in the metrics only."""
    if scope["method"] in SAFE_METHODS or _PREDICT_POST.match(scope["path"]):
        return
    principal = scope["state"].get("principal")
    log.info(
        "request",
        method=scope["method"][:16],
        path=scope["path"][:200],
        status=status,
        seconds=round(seconds, 3),
        key=getattr(principal, "key_id", None),
        request_id=scope["state"]["request_id"],
    )


def _goes_to_disk(scope: Scope, headers: Headers) -> bool:
    """Return whether a route writes the body into a spool as it comes: all forms of an upload but JSON."""
    is_upload = scope["path"] == IMPORT_PATH or _TASK_POST.match(scope["path"]) is not None
    return is_upload and "json" not in headers.get("content-type", "").lower()


def _request_id(headers: Headers) -> str:
    given = headers.get("x-request-id", "")
    return given if _REQUEST_ID.match(given) else new_id("req")


def _declared_sha256(headers: Headers) -> bytes | None:
    """Return the SHA-256 that `Content-Digest` (RFC 9530) declares, if it does."""
    found = _SHA256.search(headers.get("content-digest", ""))
    return base64.b64decode(found[1]) if found else None


def limit_body(request: Request, limit: int) -> None:
    """Lower the limit of a body that is about to be read.

    Raises:
        Problem: If it declares to be longer.
    """
    meter: BodyMeter = request.state.body_meter
    meter.limit = min(meter.limit, limit)
    _check_declared_length(request.headers, meter)


def _check_declared_length(headers: Headers, meter: BodyMeter) -> None:
    declared = headers.get("content-length", "0")
    if not declared.isascii() or not declared.isdigit() or int(declared[:20]) > meter.limit:
        raise Problem("body-too-large")
