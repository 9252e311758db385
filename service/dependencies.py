"""What endpoints ask for by type: the app's context, the caller, pages. Asynchronous, as `service.http.roles` is."""

from collections.abc import Hashable
from dataclasses import dataclass, replace
from threading import Event
from typing import Annotated

from anyio import CapacityLimiter
from fastapi import Depends, Query, Request, Response

from models.strategies.values import LeftOut
from registry.audit import Actor as Actor
from registry.blobs.store import BlobStore
from registry.errors import LearnerNotFoundError
from registry.postgres.database import Sessions
from registry.postgres.listener import Listener
from service.collector import Collector
from service.disk import Disk
from service.doorbell import Doorbell
from service.forgetting import Forgetting
from service.health import Health
from service.http.event_feed import EventFeed
from service.http.login_links import LoginLinks
from service.http.quotas import Quotas
from service.http.roles import PrincipalDep
from service.http.security import KeyRing, Principal
from service.inference.engine import InferenceEngine
from service.inference.insight_cache import InsightCache
from service.inference.insight_kinds import LearnerInsights
from service.inference.job_runner import JobRunner
from service.inference.loading import Loads
from service.inference.prediction_writer import PredictionWriter
from service.inference.snapshots import VersionLoader
from service.inference.store import SnapshotStore
from service.inference.watcher import Watcher
from service.intake.decoding import Decoder
from service.metrics import Metrics
from service.notifying.notifier import Notifier
from service.recent import Recent
from service.settings import ServiceSettings


@dataclass(frozen=True)
class AppContext:
    """Everything the routes work with; built by `service.app.create_app`, started and stopped with it."""

    settings: ServiceSettings
    session_factory: Sessions
    blobs: BlobStore
    metrics: Metrics
    feed: EventFeed
    keys: KeyRing
    login_links: LoginLinks
    quotas: Quotas
    decoder: Decoder
    engine: InferenceEngine
    store: SnapshotStore
    loader: VersionLoader
    loads: Loads
    insights: InsightCache[LearnerInsights]
    exporting: CapacityLimiter
    """Versions being written as ONNX files."""
    watcher: Watcher
    writer: PredictionWriter
    jobs: JobRunner
    doorbell: Doorbell
    notifier: Notifier
    listener: Listener
    collector: Collector
    health: Health
    recent: Recent[Hashable, object]
    """What pages had worked out lately, by what it is and of what: held-out answers and maps."""
    left_out: Recent[Hashable, LeftOut]
    """What is kept of the images of versions, as they are answered without them: as large as the versions, so few."""
    disk: Disk
    forgetting: Forgetting
    device: str
    draining: Event
    """Set when the service will stop: proxies are to go elsewhere."""
    stopping: Event
    """Set when the service is asked to stop: whoever waits for something ends then."""
    learner_ids: frozenset[str] | None = None
    """The only learners there are for whoever asks; None is all of them."""

    def shows(self, learner_id: str) -> bool:
        """Return whether there is such a learner for whoever asks. Sessions see to that by themselves."""
        return self.learner_ids is None or learner_id in self.learner_ids


async def get_context(request: Request) -> AppContext:
    """Return the app's context as it is for the caller: a key with a learner scope finds no other learners.

    This is the one place that keeps the scope, for every route that asks for them: in the database by sessions in which
    other learners' rows do not exist, in memory by the learner's name in the path.

    Raises:
        LearnerNotFoundError: If the path names a learner that the key may not see, as for one that does not exist.
    """
    context: AppContext = request.app.state.context
    principal: Principal | None = request.state.principal
    if principal is None or principal.learners is None:
        return context
    template = getattr(request.scope.get("route"), "path", "")
    name = request.path_params.get("name")
    if "/learners/{name}" in template and not principal.sees(str(name)):
        raise LearnerNotFoundError(str(name))
    learner_ids = frozenset(principal.learners.values())
    return replace(
        context, session_factory=context.keys.sessions_of(principal), learner_ids=learner_ids
    )


ContextDep = Annotated[AppContext, Depends(get_context)]


async def get_actor(request: Request, principal: PrincipalDep) -> Actor:
    """Return who the audit log names for what this request changes."""
    return Actor(principal.key_id, principal.name, request.state.request_id)


ActorDep = Annotated[Actor, Depends(get_actor)]


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
