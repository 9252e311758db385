"""The watcher: a thread that looks every second at which version of each learner is live and loads what is new.

Everything that serving needs from the database comes through here, so requests never wait for it. A version is loaded
beside the one it replaces; when it is complete, one reference moves.
"""

import math
import time
from threading import Event, Lock

import structlog

from registry import accuracy, classes, tasks, versions, workers
from registry.errors import RegistryError
from registry.failpoints import failpoint
from registry.loops import SteadyThread
from registry.postgres.database import Session, Sessions
from registry.versions import LiveVersion
from service.http.security import KeyRing
from service.inference.snapshots import VersionAddress, VersionLoader
from service.inference.store import SnapshotStore
from service.inference.task_metrics import TaskMetrics
from service.intake.forms import ImageForm
from service.metrics import Metrics
from service.problems import Problem

log = structlog.get_logger(__name__)

SLOW_S = 5.0
"""Seconds without an answer after which the database counts as down: a frozen one never refuses."""


class Watcher:
    """Keeps the snapshots, the names of classes and the keys in memory equal to the database."""

    def __init__(
        self,
        session_factory: Sessions,
        *,
        keys: KeyRing,
        store: SnapshotStore,
        loader: VersionLoader,
        metrics: Metrics,
        interval_s: float,
    ) -> None:
        self._sessions = session_factory
        self._keys = keys
        self._store = store
        self._loader = loader
        self._metrics = metrics
        self._task_metrics = TaskMetrics(metrics)
        self._interval_s = interval_s
        self._wakeup = Event()
        self._showing = Lock()
        self._is_stopping = False
        self._failing: dict[str, int] = {}
        self.thread = SteadyThread("watcher", self._run, most_pause_s=interval_s)
        self._looked_well = False
        self._asked_at: float | None = None
        self.worker_unseen_s = math.inf
        """Seconds since the last sign of life of any worker that has not said goodbye, at the last look."""
        self.has_looked = False
        """Whether the database has answered once and everything live was loaded, or tried. Nothing is served before."""

    def start(self) -> None:
        """Start the thread."""
        self.thread.start()

    def stop(self) -> None:
        """End the thread after what it is doing; a load in progress is not waited for long."""
        self._is_stopping = True
        self._wakeup.set()
        self.thread.join(timeout=5)

    def wake(self) -> None:
        """Look now rather than at the next interval."""
        self._wakeup.set()

    @property
    def is_database_up(self) -> bool:
        """Whether the database answered last time, and does not keep us waiting now."""
        asked_at = self._asked_at
        return self._looked_well and (asked_at is None or time.monotonic() - asked_at < SLOW_S)

    def failing(self) -> dict[str, int]:
        """Return the live versions that could not be loaded, by learner name."""
        return dict(self._failing)

    def find_version(self, learner: str, number: int | None) -> VersionAddress | None:
        """Return a version on request; None if the learner has learned nothing yet. Blocks, reads the database.

        Raises:
            LearnerNotFoundError, VersionNotFoundError: If there is none.
            VersionErasedError: If it was erased.
        """
        with self._sessions() as session:
            live = versions.find_live_version(session, learner, number)
        return None if live is None else _address(live)

    def show_classes(self) -> None:
        """Show classes as they are set now, in this process; the others look within their interval. Blocks."""
        with self._sessions() as session:
            self._show(session)

    def look(self) -> None:
        """Bring memory up to date once: who may ask and what is answered first, what is only told of last."""
        self._asked_at = time.monotonic()
        self._keys.refresh()
        with self._sessions() as session:
            live = versions.live_versions(session)
            self._show(session)
        self._asked_at = None
        self._store.retain({version.learner_id for version in live})
        failing: dict[str, int] = {}
        for version in live:
            if not self._is_stopping and not self._bring_up(version):
                failing[version.learner_name] = version.version
        self._failing = failing
        self._drop_erased()
        self._store.weigh_used()
        self._asked_at = time.monotonic()
        self._keys.write_used()
        with self._sessions() as session:
            self._note_queue(session)
            self._task_metrics.look(session)
        self._asked_at = None

    def _show(self, session: Session) -> None:
        # From the reading on: what was read first must not be shown after what was read later.
        with self._showing:
            self._store.show(classes.all_shown(session))

    def _drop_erased(self) -> None:
        """Forget versions that were erased: the one before the live one may be among them."""
        if loaded := self._store.loaded_older():
            with self._sessions() as session:
                self._store.drop(versions.erased_among(session, loaded))

    def _note_queue(self, session: Session) -> None:
        depth = tasks.queue_depth(session)
        self._metrics.queue_depth.set(depth.n_tasks)
        self._metrics.queue_age.set(depth.oldest_age_s)
        self._metrics.learners_waiting.set(depth.n_learners)
        self._metrics.consolidations_waiting.set(depth.n_consolidations)
        unseen_s = workers.unseen_seconds(session)
        self._metrics.worker_seen.clear()
        for worker_id, seconds in unseen_s.items():
            self._metrics.worker_seen.labels(worker_id).set(seconds)
        self.worker_unseen_s = min(unseen_s.values(), default=math.inf)

    def _note_accuracy(self, live: LiveVersion) -> None:
        with self._sessions() as session:
            history = accuracy.history(session, live.learner_id, live.version)
        last = history.measures.last
        for gauge, value in (
            (self._metrics.accuracy, history.last),
            (self._metrics.accuracy_low, last.low if last else None),
            (self._metrics.accuracy_high, last.high if last else None),
            (self._metrics.accuracy_images, last.n if last else None),
            (self._metrics.forgetting, history.forgetting),
        ):
            if value is not None:
                gauge.labels(live.learner_name).set(value)
            else:  # that of the version served before must not stay
                gauge.remove(live.learner_name)

    def _bring_up(self, live: LiveVersion) -> bool:
        """Serve a version; return whether it is served."""
        name = live.learner_name
        address = _address(live)
        if self._store.live_address(name) == address:
            return True  # in memory or not: dropped ones come back when they are asked for
        started = time.perf_counter()
        loaded = self._store.loaded(address.key)
        failpoint("serve.before_load")
        try:
            snapshot = loaded or self._loader.load(address)
        except Problem:
            return False
        failpoint("serve.before_swap")
        self._store.swap(snapshot)
        failpoint("serve.after_swap")
        seconds = time.perf_counter() - started
        self._metrics.swap_seconds.observe(seconds)
        self._note_accuracy(live)
        log.info("version_served", learner=name, version=live.version, seconds=round(seconds, 3))
        return True

    def _run(self) -> None:
        while not self._is_stopping:
            self._wakeup.clear()
            try:
                self.look()
                self._note_database(is_up=True)
            except RegistryError:
                self._note_database(is_up=False)
            except Exception:  # the thread logs it, and looks again
                self._note_database(is_up=False)
                raise
            else:
                self.has_looked = True
            self._wakeup.wait(self._interval_s)

    def _note_database(self, *, is_up: bool) -> None:
        if self._looked_well and not is_up:
            log.warning("database_down")
        self._looked_well = is_up
        self._metrics.database_up.set(is_up)


def _address(live: LiveVersion) -> VersionAddress:
    return VersionAddress(
        learner_id=live.learner_id,
        learner=live.learner_name,
        backbone=live.backbone,
        version=live.version,
        manifest_sha256=live.manifest_sha256,
        form=ImageForm(live.halved_to),
    )
