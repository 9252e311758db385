"""Idempotency-Key: a repeated POST gets the first answer again and does nothing twice."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from types import TracebackType
from typing import Any, Self

from fastapi import Request
from fastapi.responses import JSONResponse

from registry import idempotency
from registry.errors import RegistryError
from registry.postgres.database import Session, Sessions
from service.problems import Problem

HEADER = "idempotency-key"
_VISIBLE = re.compile(r"^[\x21-\x7e]{1,255}$")


@dataclass
class IdempotentRequest:
    """One creating request, done at most once for its key. Use as a context; without a key it does nothing.

    Example:
        with IdempotentRequest.of(request, sessions, digest) as idempotent:
            if idempotent.replay:
                return idempotent.replay
            with sessions.begin() as session:
                ...
                return idempotent.answer(session, 201, body)
    """

    sessions: Sessions
    scope: str
    key: str | None
    digest: str
    replay: JSONResponse | None = None
    """The first answer, if there is one."""
    _is_open: bool = field(default=False, init=False)

    @classmethod
    def of(cls, request: Request, sessions: Sessions, digest: str) -> Self:
        """Read the header.

        Raises:
            Problem: `idempotency-key-invalid`.
        """
        key = request.headers.get(HEADER)
        if key is not None and not _VISIBLE.match(key):
            raise Problem("idempotency-key-invalid")
        scope = f"{request.state.principal.key_id} {request.method} {request.url.path}"
        return cls(sessions, scope, key, digest)

    def __enter__(self) -> Self:
        if self.key is None:
            return self
        with self.sessions.begin() as session:
            stored = idempotency.begin(session, self.scope, self.key, self.digest)
        if stored is not None:
            headers = {**stored.headers, "Idempotent-Replayed": "true"}
            self.replay = JSONResponse(stored.body, stored.status_code, headers)
        else:
            self._is_open = True
        return self

    def answer(
        self,
        session: Session,
        status_code: int,
        body: dict[str, Any],
        headers: Mapping[str, str] | None = None,
    ) -> JSONResponse:
        """Return the answer, and keep it in the transaction that did the work."""
        headers = dict(headers or {})
        if self.key is not None:
            idempotency.finish(
                session, self.scope, self.key, status_code=status_code, headers=headers, body=body
            )
        return JSONResponse(body, status_code, headers)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._is_open or self.key is None or error is None:
            return
        try:
            with self.sessions.begin() as session:
                idempotency.abandon(session, self.scope, self.key)
        except RegistryError:
            return  # the database is gone: the reservation runs out by itself


def body_digest(request: Request, body: bytes) -> str:
    """Return the fingerprint of a request with a JSON body."""
    return sha256(request.url.query.encode("utf-8", "replace") + b"\n" + body).hexdigest()
