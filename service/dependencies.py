"""What endpoints ask for by type: collaborators of the app, the caller, pages."""

from dataclasses import dataclass
from threading import Event
from typing import Annotated, Any

from fastapi import Depends, Query, Request, Response
from sqlalchemy.orm import Session, sessionmaker

from registry.blobs import BlobStore
from registry.doorbell import Doorbell
from service.collector import Collector
from service.http.problems import Problem
from service.http.security import KeyRing, Principal
from service.inference.engine import InferenceEngine
from service.inference.history import PredictionWriter
from service.inference.snapshots import SnapshotStore, VersionLoader
from service.inference.watcher import Watcher
from service.intake.decoding import Decoder
from service.metrics import Metrics
from service.settings import ServiceSettings


@dataclass(frozen=True)
class Collaborators:
    """Everything the routes work with; built by `service.app.create_app`, started and stopped with it."""

    settings: ServiceSettings
    session_factory: sessionmaker[Session]
    blobs: BlobStore
    metrics: Metrics
    keys: KeyRing
    decoder: Decoder
    engine: InferenceEngine
    store: SnapshotStore
    loader: VersionLoader
    watcher: Watcher
    writer: PredictionWriter
    doorbell: Doorbell
    collector: Collector
    device: str
    stopping: Event
    """Set when the service is asked to stop: whoever waits for something ends then."""


def get_collaborators(request: Request) -> Collaborators:
    """Return the app's collaborators."""
    collaborators: Collaborators = request.app.state.collaborators
    return collaborators


def get_principal(request: Request) -> Principal:
    """Return who sends this request.

    Raises:
        Problem: `unauthorized`, on a public path without a key.
    """
    principal: Principal | None = request.state.principal
    if principal is None:
        raise Problem("unauthorized", headers={"WWW-Authenticate": 'Bearer realm="filopodia"'})
    return principal


CollaboratorsDep = Annotated[Collaborators, Depends(get_collaborators)]
PrincipalDep = Annotated[Principal, Depends(get_principal)]


@dataclass(frozen=True)
class RoleCheck:
    """A dependency that refuses keys below a role. `StrictRoute` runs it before it reads a body."""

    role: str

    def __call__(self, principal: PrincipalDep) -> None:
        """Check the caller.

        Raises:
            Problem: `forbidden`.
        """
        if not principal.may(self.role):
            raise Problem("forbidden", f"This needs a key with the role {self.role} or higher.")


def requires(role: str) -> Any:
    """Return the dependency that lets only keys of at least this role pass."""
    return Depends(RoleCheck(role))


async def read_body(request: Request) -> bytes:
    """Return the body; FastAPI has read it already where an endpoint also takes a schema."""
    return await request.body()


BodyDep = Annotated[bytes, Depends(read_body)]
Limit = Annotated[int, Query(ge=1, le=200, description="Items in a page")]
Cursor = Annotated[
    str | None, Query(max_length=500, description="`next_cursor` of the page before")
]


def link_next(request: Request, response: Response, next_cursor: str | None) -> None:
    """Set `Link: rel="next"` where there is another page."""
    if next_cursor is not None:
        url = request.url.include_query_params(cursor=next_cursor)
        response.headers["Link"] = f'<{url.path}?{url.query}>; rel="next"'
