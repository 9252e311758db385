"""The service below a path of a host: `https://example.org/filopodia` instead of a host of its own.

The app knows nothing of it: it answers at `/v1/...` and `/admin/...`, and writes such addresses. This layer, which is
only there where `FILOPODIA_ROOT_PATH` is set, takes the prefix away from what comes in, if the proxy has not done so,
and puts it before every address that goes out: in headers, in pages, in problems and in the OpenAPI schema.
"""

import json
import re
from collections.abc import Callable
from urllib.parse import urlsplit, urlunsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.problems import MEDIA_TYPE

_ADDRESS = re.compile(rb'(\s(?:href|src|action|formaction|data-live|data-path)=")/(?![/\\])')
"""An address of ours in a page. What users wrote cannot look like one: quotes of theirs are escaped."""
_LINK = re.compile(r"</(?!/)")
_COOKIE_PATH = re.compile(r"(;\s*path=)/(?=;|$)", re.IGNORECASE)
SCHEMA = "/openapi.json"


class RootPathMiddleware:
    """A layer around the app that keeps all its addresses below a prefix.

    Args:
        app: What answers below the prefix as if there were none.
        root: The prefix, such as `/filopodia`.
    """

    def __init__(self, app: ASGIApp, *, root: str) -> None:
        self._app = app
        self._root = root

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        inner = {**scope, **self._without_root(scope)}
        await self._app(inner, receive, _Outgoing(send, inner, self._root))

    def _without_root(self, scope: Scope) -> Scope:
        """Return what of a request changes when the prefix goes: its path, and the path of the page it came from."""
        changed: Scope = {"path": _cut(scope["path"], self._root)}
        if scope.get("raw_path"):
            raw = scope["raw_path"].decode("latin-1")
            changed["raw_path"] = _cut(raw, self._root).encode("latin-1")
        if referer := Headers(scope=scope).get("referer"):
            changed["headers"] = [
                (name, self._own_page(referer).encode("latin-1") if name == b"referer" else value)
                for name, value in scope["headers"]
            ]
        return changed

    def _own_page(self, referer: str) -> str:
        try:
            parts = urlsplit(referer)
        except ValueError:
            return referer
        return urlunsplit(parts._replace(path=_cut(parts.path, self._root)))


class _Outgoing:
    """Sends an answer with the prefix before its addresses. A body that holds some is held back until it is whole."""

    def __init__(self, send: Send, scope: Scope, root: str) -> None:
        self._send = send
        self._scope = scope
        self._root = root
        self._start: Message | None = None
        self._body = b""
        self._rewrite: Callable[[bytes], bytes] | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            self._extend(headers)
            self._rewrite = self._rewriter(headers.get("content-type", ""))
            if self._rewrite is not None:
                self._start = message
                return
        elif self._start is not None and message["type"] == "http.response.body":
            self._body += message.get("body", b"")
            if not message.get("more_body", False):
                await self._finish(self._start)
            return
        await self._send(message)

    def _extend(self, headers: MutableHeaders) -> None:
        location = headers.get("location", "")
        if location.startswith("/") and not location.startswith("//"):
            headers["location"] = self._root + location
        if "link" in headers:
            headers["link"] = _LINK.sub(f"<{self._root}/", headers["link"])
        cookies = headers.getlist("set-cookie")
        if cookies:
            del headers["set-cookie"]
            for cookie in cookies:
                headers.append("set-cookie", _COOKIE_PATH.sub(rf"\1{self._root}", cookie))

    def _rewriter(self, content_type: str) -> Callable[[bytes], bytes] | None:
        if self._scope["method"] == "HEAD":
            return None
        if content_type.startswith("text/html"):
            return lambda body: _ADDRESS.sub(rb"\1" + self._root.encode() + b"/", body)
        if content_type.startswith(MEDIA_TYPE):
            return self._problem
        return self._schema if self._scope["path"] == SCHEMA else None

    def _problem(self, body: bytes) -> bytes:
        problem = json.loads(body)
        problem["type"] = self._root + problem["type"]
        return json.dumps(problem, ensure_ascii=False, separators=(",", ":")).encode()

    def _schema(self, body: bytes) -> bytes:
        schema = {**json.loads(body), "servers": [{"url": self._root}]}
        return json.dumps(schema, ensure_ascii=False, separators=(",", ":")).encode()

    async def _finish(self, start: Message) -> None:
        assert self._rewrite is not None
        body = self._rewrite(self._body)
        headers = MutableHeaders(scope=start)
        if "content-length" in headers:
            headers["content-length"] = str(len(body))
        await self._send(start)
        await self._send({"type": "http.response.body", "body": body})


def _cut(path: str, root: str) -> str:
    """Return a path without the prefix; one that does not begin with it, as it is.

    Example:
        >>> _cut("/filopodia/admin", "/filopodia"), _cut("/filopodia", "/filopodia"), _cut("/admin", "/filopodia")
        ('/admin', '/', '/admin')
    """
    if path == root:
        return "/"
    return path[len(root) :] if path.startswith(f"{root}/") else path
