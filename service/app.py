"""The app: context, middleware, error handlers and routers put together. Connects to nothing until it starts."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache, partial
from threading import Event
from typing import Any

import torch
from anyio import CapacityLimiter
from fastapi import APIRouter, FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.routing import BaseRoute

from models.backbone import choose_device
from registry.blobs.store import BlobStore
from registry.postgres.database import Sessions
from registry.postgres.listener import DELIVERIES, JOBS, SERVING, TASKS, Listener
from service.collector import Collector
from service.dashboard.errors import page_for
from service.dashboard.routes import router as dashboard
from service.dependencies import AppContext
from service.disk import Disk
from service.doorbell import make_doorbell
from service.forgetting import Forgetting
from service.health import Health
from service.http import exception_handlers
from service.http.cors import Cors
from service.http.demands import DemandTable
from service.http.event_feed import EventFeed
from service.http.login_links import LoginLinks
from service.http.middleware import AdmissionMiddleware
from service.http.openapi import build_schema
from service.http.quotas import Quotas
from service.http.root_path import RootPathMiddleware
from service.http.security import KeyRing
from service.inference.engine import InferenceEngine
from service.inference.insight_cache import InsightCache
from service.inference.job_runner import JobRunner
from service.inference.loading import Loads
from service.inference.prediction_writer import PredictionWriter
from service.inference.snapshots import VersionLoader
from service.inference.store import SnapshotStore
from service.inference.watcher import Watcher
from service.intake.decoding import Decoder
from service.metrics import Metrics
from service.notifying.addresses import Allowed
from service.notifying.http_sending import HttpSender
from service.notifying.mqtt_sending import MqttSender
from service.notifying.notifier import Notifier
from service.private_files import session_secret
from service.recent import Recent
from service.routes import (
    accounts,
    accuracy,
    audit,
    bundles,
    catalog,
    classes,
    confusions,
    consolidations,
    corrections,
    drift,
    feedback,
    health,
    insights,
    keys,
    learners,
    login_links,
    operations,
    prediction_jobs,
    predictions,
    reference,
    reviews,
    samples,
    subscriptions,
    tasks,
    unlearning,
    versions,
    workers,
)
from service.settings import ServiceSettings
from service.use_cases.unknown_notices import tell_of_unknown

MOST_RECENT = 256
"""Answers to the held-out images of a class, maps and changes of the last days: at most some 100 kB each."""
MOST_LEFT_OUT = 2
"""Versions whose features are kept for pages that ask about images left out: 30 MB for 10,000 images, 768 wide."""
DESCRIPTION = """\
A service that keeps learning image classes: post labelled images of new classes as a task, ask for predictions, and
read how well everything learned before is still known.

Every request needs `Authorization: Bearer <key>`. Errors are problem details (RFC 9457) with a stable `code`. Creating
requests take an `Idempotency-Key`. Of JSON keys that come twice, the last one counts.
"""


class App(FastAPI):
    """FastAPI with our OpenAPI schema."""

    def openapi(self) -> dict[str, Any]:
        """Return the schema, built once."""
        if self.openapi_schema is None:
            self.openapi_schema = build_schema(self)
        return self.openapi_schema


def create_app(settings: ServiceSettings, session_factory: Sessions, blobs: BlobStore) -> FastAPI:
    """Build the app. Its threads start and stop with its lifespan.

    Args:
        settings: Limits, device, intervals.
        session_factory: Of a database that is migrated.
        blobs: Where images and artifacts lie.
    """
    context = build_context(settings, session_factory, blobs)
    app = App(
        title="Filopodia",
        version=operations.VERSION,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        lifespan=_lifespan,
        redirect_slashes=False,
        # Metrics are our own. FastAPI would ask the environment for OpenTelemetry at every request.
        telemetry={"tracing": False, "metrics": False, "logs": False},
        routes=_routes(),
    )
    app.state.context = context
    exception_handlers.install(app, page_for)
    app.add_middleware(
        AdmissionMiddleware,
        settings=settings,
        keys=context.keys,
        quotas=context.quotas,
        metrics=context.metrics,
        page_for=page_for,
        demands=DemandTable(app.routes),
    )
    # Around admission, so that what it refuses can be read by other origins' pages and carries the prefix too.
    if settings.cors_origins:
        app.add_middleware(Cors, origins=settings.cors_origins)
    if settings.root_path:
        app.add_middleware(RootPathMiddleware, root=settings.root_path)
    return app


@cache
def _routes() -> list[BaseRoute]:
    """Return all routes. What FastAPI works out of them takes a while, and holds for every app of this process.

    They are asked in this order whether a request is theirs, so what is asked most often comes first. None is included
    as a router: FastAPI would look at each such router's routes twice, which took a tenth of a prediction's time in the
    event loop.
    """
    modules = (
        predictions,
        accounts,
        learners,
        classes,
        catalog,
        tasks,
        unlearning,
        corrections,
        consolidations,
        samples,
        insights,
        prediction_jobs,
        feedback,
        reviews,
        accuracy,
        versions,
        confusions,
        drift,
        bundles,
        keys,
        subscriptions,
        login_links,
        audit,
        reference,
        operations,
        health,
        workers,
    )
    router = APIRouter()
    router.include_router(dashboard)
    return [route for module in modules for route in module.router.routes] + router.routes


def build_context(
    settings: ServiceSettings, session_factory: Sessions, blobs: BlobStore
) -> AppContext:
    """Build what the routes work with; starts nothing."""
    metrics = Metrics()
    keys = KeyRing(session_factory, session_secret(settings.data_dir))
    store = SnapshotStore(
        older_versions=settings.older_versions,
        metrics=metrics,
        max_bytes=settings.max_loaded_bytes,
    )
    device = choose_device(settings.device)
    loader = VersionLoader(
        blobs,
        device=device,
        weights=settings.backbone_weights,
        metrics=metrics,
        as_graph=settings.onnx_runtime,
    )
    watcher = Watcher(
        session_factory,
        keys=keys,
        store=store,
        loader=loader,
        metrics=metrics,
        interval_s=settings.watch_s,
    )
    engine, decoder = InferenceEngine(settings, metrics), Decoder(settings, metrics)
    quotas = Quotas(settings)
    loads = Loads(store, loader, metrics, max_wait_s=settings.max_wait_s)
    jobs = JobRunner(
        session_factory,
        blobs,
        watcher=watcher,
        loads=loads,
        store=store,
        engine=engine,
        decoder=decoder,
        metrics=metrics,
        keys=keys,
        quotas=quotas,
        keeps_images=settings.keep_prediction_images,
    )
    feed = EventFeed(session_factory)
    doorbell = make_doorbell(settings.redis_dsn(), session_factory, every_s=settings.ring_s)
    notifier = Notifier(
        session_factory,
        http=HttpSender(
            Allowed.parse(settings.notify_allow), user_agent=f"Filopodia/{operations.VERSION}"
        ),
        mqtt=MqttSender(settings.mqtt_dsn(), settings.mqtt_prefix),
        metrics=metrics,
        look=partial(tell_of_unknown, session_factory),
    )
    disk = Disk(blobs)
    context = AppContext(
        settings=settings,
        session_factory=session_factory,
        blobs=blobs,
        metrics=metrics,
        feed=feed,
        keys=keys,
        login_links=LoginLinks(session_factory),
        quotas=quotas,
        decoder=decoder,
        engine=engine,
        store=store,
        loader=loader,
        loads=loads,
        insights=InsightCache(),
        exporting=CapacityLimiter(1),
        watcher=watcher,
        writer=PredictionWriter(session_factory, blobs, metrics, settings),
        jobs=jobs,
        doorbell=doorbell,
        notifier=notifier,
        listener=Listener(
            session_factory,
            {
                SERVING: [watcher.wake],
                TASKS: [feed.wake, doorbell.wake],
                JOBS: [jobs.wake],
                DELIVERIES: [notifier.wake],
            },
        ),
        collector=Collector(
            session_factory, blobs, keep_predictions_days=settings.keep_predictions_days, disk=disk
        ),
        health=Health(watcher),
        recent=Recent(MOST_RECENT),
        left_out=Recent(MOST_LEFT_OUT),
        disk=disk,
        forgetting=Forgetting(),
        device=str(device),
        draining=Event(),
        stopping=Event(),
    )
    context.health.watch(context.engine.thread, watcher.thread, context.writer.thread)
    context.health.watch(context.doorbell.thread, context.collector.thread)
    context.health.watch(context.listener.thread, context.jobs.thread)
    context.health.watch(context.notifier.thread)
    metrics.registry.register(context.health)
    return context


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    context: AppContext = app.state.context
    if context.settings.torch_threads is not None:
        torch.set_num_threads(context.settings.torch_threads)
    context.engine.start()
    context.watcher.start()
    context.writer.start()
    context.jobs.start()
    context.doorbell.start()
    context.notifier.start()
    context.collector.start()
    context.listener.start()
    try:
        yield
    finally:
        context.stopping.set()
        await run_in_threadpool(_stop, context)


def _stop(context: AppContext) -> None:
    context.listener.stop()
    context.collector.stop()
    context.doorbell.stop()
    context.watcher.stop()
    context.jobs.stop()
    context.engine.stop()
    context.writer.stop()
    context.notifier.stop()
    context.decoder.close()
    context.loads.close()
    context.insights.close()
