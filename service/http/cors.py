"""Which pages of other origins may use the API from a browser: none, unless `FILOPODIA_CORS_ORIGINS` names some.

A page sends a key of its own with each request, as any program does. Cookies never go along: the dashboard's session is
for its own pages, and those are not opened to anybody here. So even `*` gives away nothing without a key.
"""

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
SENT = (
    "Accept",
    "Authorization",
    "Content-Digest",
    "Content-Type",
    "Idempotency-Key",
    "If-Match",
    "If-None-Match",
    "Last-Event-ID",
    "Prefer",
    "X-Request-Id",
)
"""Headers that a page may send."""
SHOWN = (
    "Content-Disposition",
    "ETag",
    "Idempotent-Replayed",
    "Link",
    "Location",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "WWW-Authenticate",
    "X-Request-Id",
)
"""Headers of answers that a page may read, beside those that any may."""
REMEMBERED_S = 600
"""How long a browser need not ask again whether it may send something."""


class Cors:
    """A layer around everything but the dashboard, refusals of the layers inside included."""

    def __init__(self, app: ASGIApp, *, origins: tuple[str, ...]) -> None:
        self._app = app
        self._opened = CORSMiddleware(
            app,
            allow_origins=origins,
            allow_methods=METHODS,
            allow_headers=SENT,
            expose_headers=SHOWN,
            max_age=REMEMBERED_S,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event."""
        is_dashboard = scope["type"] == "http" and f"{scope['path']}/".startswith("/admin/")
        await (self._app if is_dashboard else self._opened)(scope, receive, send)
