"""Prediction jobs: a thread that answers their images, a few at a time, behind whatever is asked for meanwhile.

Jobs of all keys share one turn of the engine and of the decoder's threads, and only as many images as are scored in a
moment wait for the engine at once, so that a request waits for no more than those.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from threading import Event
from time import monotonic

import structlog
from torch import Tensor

from registry import prediction_jobs
from registry.blobs.store import BlobStore
from registry.errors import (
    BlobDamagedError,
    BlobMissingError,
    DatabaseUnavailableError,
    FencedError,
    NotFoundError,
    RegistryError,
    VersionErasedError,
)
from registry.failpoints import failpoint
from registry.loops import SteadyThread
from registry.postgres.database import Sessions
from registry.prediction_jobs import IMAGE_GONE, ClaimedJob, JobAnswer, WaitingImage
from registry.reviews import Look
from service.http.quotas import Quotas
from service.http.security import KeyRing
from service.inference.answers import features_of, hide, image_answer, require_shown
from service.inference.engine import InferenceEngine, Scores
from service.inference.loading import Loads
from service.inference.snapshots import Snapshot
from service.inference.store import SnapshotStore
from service.inference.watcher import Watcher
from service.intake.decoding import Decoder
from service.intake.small import make_small
from service.metrics import Metrics
from service.problems import Problem

log = structlog.get_logger(__name__)

OWNER = "prediction-jobs"
"""Whose turn the images of all jobs take."""
CHUNK = 64
"""Images claimed at once: what is answered is stored after each chunk, and jobs take turns."""
LEASE_S = 20.0
"""How long nothing may be heard of a service before another one takes its job over."""
RENEW_S = 5.0
"""Renewed while a version is loaded and between two parts of a chunk: no part is waited for as long as a lease."""
AT_ONCE_S = 0.02
"""Time of the images that wait for the engine at once; what a request waits longer beside a job. Measured in decision
40: a job is as fast as with 0.05, and the slowest hundredth of requests beside it a third sooner."""
RETRY_S = 1.0
LOOK_S = 5.0
"""How often the thread looks for jobs that it was not told of."""
INTERNAL = "The images could not be predicted; the log of the service says why."


@dataclass(frozen=True)
class _Prepared:
    image: WaitingImage
    tensor: Tensor | None = None
    warnings: tuple[str, ...] = ()
    problem: dict[str, str] | None = None
    small: bytes | None = None
    """Of a stored image, for its review."""


class JobRunner:
    """A thread that answers the images of prediction jobs. Several services may each run one."""

    def __init__(
        self,
        session_factory: Sessions,
        blobs: BlobStore,
        *,
        watcher: Watcher,
        loads: Loads,
        store: SnapshotStore,
        engine: InferenceEngine,
        decoder: Decoder,
        metrics: Metrics,
        keys: KeyRing,
        quotas: Quotas,
        keeps_images: bool,
    ) -> None:
        """Start nothing yet.

        Args:
            session_factory: Of the database with the jobs.
            blobs: Where their images lie.
            watcher: Knows the versions.
            loads: Loads one.
            store: Knows how classes are shown.
            engine: Scores images.
            decoder: Its threads decode them.
            metrics: Told what was answered.
            keys: Know who posted a job.
            quotas: Say how many images of a key may be predicted now.
            keeps_images: Whether uploaded images stay until their job is deleted.
        """
        self._sessions = session_factory
        self._blobs = blobs
        self._watcher = watcher
        self._loads = loads
        self._store = store
        self._engine = engine
        self._decoder = decoder
        self._metrics = metrics
        self._keys = keys
        self._quotas = quotas
        self._keeps_images = keeps_images
        self._held_up: set[str] = set()
        """Jobs whose keys could have nothing predicted since any was answered."""
        self._wakeup = Event()
        self._stopping = Event()
        self.thread = SteadyThread("prediction-jobs", self._run, most_pause_s=RETRY_S)

    def start(self) -> None:
        """Start the thread."""
        self.thread.start()

    def stop(self) -> None:
        """Give back what was begun, with what has been answered, and end the thread."""
        self._stopping.set()
        self._wakeup.set()
        self.thread.join(timeout=5)

    def wake(self) -> None:
        """Look for jobs now."""
        self._wakeup.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wakeup.clear()
            try:
                has_worked = self._work()
            except RegistryError as error:
                log.warning("prediction_jobs_wait", reason=str(error))
                self._stopping.wait(RETRY_S)
                continue
            if not has_worked:
                self._wakeup.wait(LOOK_S)

    def _work(self) -> bool:
        """Answer a chunk of the job whose turn it is; return whether there was one."""
        with self._sessions.begin() as session:
            job = prediction_jobs.claim_next(session, LEASE_S)
        if job is None:
            return False
        answers: list[JobAnswer] = []
        try:
            self._answer(job, answers, self._granted(job))
        except FencedError:
            return True  # cancelled, deleted, or somebody else has it
        except (VersionErasedError, NotFoundError) as error:
            self._fail(job, error.code, str(error))
            return True
        except Problem as problem:
            if problem.code != "overloaded":
                self._fail(job, problem.code, problem.detail)
                return True
            self._stopping.wait(RETRY_S)
        except RegistryError:
            self._give_back(job, answers)
            raise
        except Exception:
            log.exception("prediction_job_failed", job=job.id)
            self._fail(job, "internal", INTERNAL)
            return True
        self._give_back(job, answers)
        return True

    def _granted(self, job: ClaimedJob) -> int:
        """Return how many images of a job may be answered now: its key's limit by the minute holds for jobs too."""
        wanted = min(CHUNK, job.n_waiting)
        if job.key_id is None:
            return wanted
        principal = self._keys.find_by_id(job.key_id)
        granted = self._quotas.grant_images(job.key_id, principal, wanted)
        if granted:
            self._held_up.clear()
        elif job.id in self._held_up:  # and so are all that had a turn since
            self._held_up.clear()
            self._stopping.wait(RETRY_S)
        else:
            self._held_up.add(job.id)
        return granted

    def _answer(self, job: ClaimedJob, answers: list[JobAnswer], most: int) -> None:
        """Add the answers of a chunk as they come."""
        snapshot = self._snapshot(job)
        with self._sessions() as session:
            images = prediction_jobs.waiting_images(session, job.id, limit=most)
        failpoint("job.before_answers")
        renewed = monotonic()
        for answered in self._answers(job, snapshot, images):
            answers += answered
            if monotonic() - renewed > RENEW_S:
                self._renew(job)
                renewed = monotonic()

    def _snapshot(self, job: ClaimedJob) -> Snapshot:
        address = self._watcher.find_version(job.learner, job.version)
        if address is None:
            raise Problem("nothing-learned")
        snapshot = self._loads.get_blocking(
            address, OWNER, meanwhile=partial(self._renew, job), every_s=RENEW_S
        )
        require_shown(snapshot, self._store.shown(job.learner_id).hidden)
        return snapshot

    def _answers(
        self, job: ClaimedJob, snapshot: Snapshot, images: Sequence[WaitingImage]
    ) -> Iterator[list[JobAnswer]]:
        """Yield answers a few at a time, until all are there or the service stops."""
        prepared = self._decoder.map_upload(partial(self._prepare, snapshot), images, OWNER)
        while not self._stopping.is_set():
            some = list(islice(prepared, self._engine.images_within(snapshot, AT_ONCE_S)))
            if not some:
                return
            yield self._score(job, snapshot, some)

    def _prepare(self, snapshot: Snapshot, image: WaitingImage) -> _Prepared:
        """Decode one image. On a thread of the decoder."""
        if image.blob_sha256 is None:
            return _Prepared(image, problem=IMAGE_GONE)
        try:
            decoded = self._decoder.decode(self._blobs.get(image.blob_sha256), snapshot.form)
        except Problem as problem:
            return _Prepared(image, problem={"code": problem.code, "detail": problem.detail})
        except BlobMissingError:
            return _Prepared(image, problem=IMAGE_GONE)
        except BlobDamagedError as error:
            detail = Problem(
                error.code
            ).detail  # without the blob's hash, which is nobody's business
            return _Prepared(image, problem={"code": error.code, "detail": detail})
        # What was said of an image before is known of stored ones only.
        small = None if image.before is None else make_small(decoded.pixels)
        tensor = snapshot.backbone.preprocess(decoded.pixels)
        return _Prepared(image, tensor, decoded.warnings, small=small)

    def _score(
        self, job: ClaimedJob, snapshot: Snapshot, prepared: Sequence[_Prepared]
    ) -> list[JobAnswer]:
        tensors = [one.tensor for one in prepared if one.tensor is not None]
        futures = self._engine.submit(snapshot, tensors, OWNER) if tensors else []
        shown = self._store.shown(job.learner_id)
        labels = snapshot.strategy.classes_
        parts = [hide(future.result(), labels, shown.hidden) for future in futures]
        rows = iter([(scores, row) for scores in parts for row in range(len(scores.passes))])
        answers = []
        for one in prepared:
            if one.problem is not None:
                answers.append(JobAnswer(one.image.index, {"problem": one.problem}))
                continue
            scores, row = next(rows)
            result = image_answer(
                snapshot,
                scores,
                row,
                top_k=job.top_k,
                trace=job.trace,
                min_scores=shown.min_scores,
            )
            if one.warnings:
                result["warnings"] = list(one.warnings)
            answers.append(JobAnswer(one.image.index, result, _look(one, scores, row)))
        return answers

    def _renew(self, job: ClaimedJob) -> None:
        with self._sessions.begin() as session:
            prediction_jobs.renew(session, job, LEASE_S)

    def _give_back(self, job: ClaimedJob, answers: Sequence[JobAnswer]) -> None:
        """Store what was answered, once the database can be asked, unless somebody else has the job by then."""
        failpoint("job.before_give_back")
        while True:
            try:
                with self._sessions.begin() as session:
                    row = prediction_jobs.give_back(
                        session, job, answers, keeps_images=self._keeps_images
                    )
                    ended, n_images = row.finished_at is not None, row.n_images
            except FencedError:
                return
            except DatabaseUnavailableError as error:
                log.warning("prediction_jobs_wait", reason=str(error))
                if self._stopping.wait(RETRY_S):
                    raise
            else:
                break
        self._metrics.job_images.inc(len(answers))
        if ended:
            log.info("prediction_job_done", job=job.id, learner=job.learner, images=n_images)

    def _fail(self, job: ClaimedJob, code: str, detail: str) -> None:
        try:
            with self._sessions.begin() as session:
                prediction_jobs.fail(session, job, code, detail)
        except FencedError:
            return
        log.warning("prediction_job_ended", job=job.id, learner=job.learner, reason=code)


def _look(prepared: _Prepared, scores: Scores, row: int) -> Look | None:
    """Return how a stored image looks, for its review."""
    if prepared.small is None:
        return None
    features = features_of(scores, row)
    if features is None:
        return Look(prepared.small)
    return Look(prepared.small, features.values, features.made_by)
