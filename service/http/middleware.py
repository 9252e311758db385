"""What happens to every request before a route sees it: id, caps, body limit, key, headers, metrics.

One pure ASGI middleware, so that nothing is buffered and a refusal costs no body.
"""

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
from service.http.security import SAFE_METHODS, KeyRing
from service.metrics import Metrics
from service.settings import ServiceSettings

log = structlog.get_logger(__name__)

MAX_HEADERS = 64
MAX_HEADER_BYTES = 16 * 1024
MAX_URI_BYTES = 8 * 1024
BODY_OVERHEAD = 1024 * 1024
"""Room for the multipart framing around files that together reach a limit."""

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
class BodyMeter:
    """Counts a request's body as it comes, stops it at its limit, and compares it with its Content-Digest."""

    limit: int
    expected_sha256: bytes | None = None
    size: int = 0

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
        if self.expected_sha256 is not None:
            self._digest.update(chunk)

    def finish(self) -> None:
        """Check the whole body.

        Raises:
            Problem: If its digest is not the one declared.
        """
        if self.expected_sha256 not in (None, self._digest.digest()):
            raise Problem("digest-mismatch")


class Frontier:
    """The outermost layer of the app."""

    def __init__(
        self, app: ASGIApp, *, settings: ServiceSettings, keys: KeyRing, metrics: Metrics
    ) -> None:
        self.app = app
        self.settings = settings
        self.keys = keys
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = _request_id(headers)
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        sender = _Sender(send, request_id, is_https=scope["scheme"] == "https")
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
        scope["state"]["principal"] = await self.keys.admit(scope, headers)
        meter = BodyMeter(self._body_limit(scope), _declared_sha256(headers))
        scope["state"]["body_meter"] = meter
        _check_declared_length(headers, meter)

        async def metered() -> Message:
            message = await receive()
            if message["type"] == "http.request":
                meter.take(message.get("body", b""))
                if not message.get("more_body", False):
                    meter.finish()
            return message

        await self.app(scope, metered, send)

    def _check_shape(self, scope: Scope, headers: Headers) -> None:
        raw = scope["headers"]
        if len(raw) > MAX_HEADERS or sum(len(k) + len(v) for k, v in raw) > MAX_HEADER_BYTES:
            raise Problem("headers-too-large")
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > MAX_URI_BYTES:
            raise Problem("uri-too-long")
        host = headers.get("host", "")
        allowed = self.settings.allowed_hosts
        if not _HOST.match(host) or ("*" not in allowed and _host_name(host) not in allowed):
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
    """Adds the headers every answer has, and remembers the status."""

    def __init__(self, send: Send, request_id: str, *, is_https: bool) -> None:
        self._send = send
        self._is_https = is_https
        self._request_id = request_id
        self.status: int | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-Id"] = self._request_id
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
            if self._is_https:
                headers.setdefault("Strict-Transport-Security", "max-age=31536000")
        await self._send(message)


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


def _request_id(headers: Headers) -> str:
    given = headers.get("x-request-id", "")
    return given if _REQUEST_ID.match(given) else new_id("req")


def _host_name(host: str) -> str:
    return host.rsplit("]", 1)[0] + "]" if host.startswith("[") else host.split(":")[0].lower()


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
