"""Schemas of accuracy, versions, keys and the state of the service."""

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, Field

from service.labels import ShortText
from service.schemas.base import MAX_INT, LearnerName, ReadSchema, RequestSchema, Time
from service.schemas.consolidations import Stage
from service.schemas.measures import AccuracyMeasures

Role = Literal["reader", "predictor", "trainer", "admin"]
WorkerKind = Literal["local", "celery"]
Quota = Annotated[int | None, Field(ge=0, le=MAX_INT)]
DoorbellState = Literal["up", "down", "none"]
WorkerHealth = Literal["up", "starting", "down", "refused", "unknown"]


class AccuracyRead(ReadSchema):
    """How well every task is known with every version."""

    learner: str
    version: int
    """The last of `versions`, to which it all leads; 0 before the first."""
    live_version: int
    """Version that answers predictions, which after a rollback may be another one; 0 before the first."""
    tasks: list[int]
    versions: list[int]
    matrix: list[list[float | None]]
    """Row v, column t: accuracy on task t with version v; null where it was not evaluated."""
    n: list[list[int | None]]
    """Images it was measured on, in the same places."""
    last: float | None
    """Accuracy on all images of what `version` knows, with it."""
    average: float | None
    forgetting: float | None
    backward_transfer: float | None
    plasticity: list[float | None]
    stability: list[float | None]
    routing: list[float | None]
    passes: list[float | None]
    unlearned: list[int]
    """Those of `tasks` that `version` no longer knows."""
    superseded: list[int]
    """Tasks that a rollback left beside the line of versions that leads to the head."""
    measures: AccuracyMeasures | None = None
    """How sure each of these accuracies is; null from a service that does not tell."""


class VersionRead(ReadSchema):
    """An immutable snapshot of a learner."""

    number: int
    parent: int | None
    task: int
    """Index of the task that made it; below 0 it was a consolidation."""
    task_id: str
    tasks: list[int]
    """Indexes of the tasks it knows something of."""
    stage: Stage
    """`learned`: its classes are answered. `consolidated`: its images have also shaped the features."""
    unconsolidated: list[int]
    """Indexes of those of its tasks that wait for a consolidation."""
    config: dict[str, Any]
    seed: int
    backbone_fingerprint: str
    artifact_sha256: str | None
    """Null once it was erased."""
    size_bytes: int
    classes: list[str]
    metrics: dict[str, Any]
    code_versions: dict[str, Any]
    is_live: bool
    erased_at: Time | None
    """When its artifact was given up, because it held what was unlearned since."""
    created_at: Time


class ConfusionRead(ReadSchema):
    """What a version took images for that it did not learn from: those held out, and those left out in turn."""

    learner: str
    version: int
    classes: list[str]
    confusion: dict[int, dict[str, dict[str, int]]]
    """By task index, true label and answered label."""


class KeyQuotas(RequestSchema):
    """Where a key's limits differ from those in `/v1/info`. Null is no limit; what is left out stays as it is there."""

    predict_images_per_minute: Quota = None
    changes_per_minute: Quota = None
    tasks_per_day: Quota = None
    images_per_day: Quota = None


class KeyCreate(RequestSchema):
    """A key to create."""

    name: ShortText
    role: Role
    learners: Annotated[list[LearnerName], Field(min_length=1, max_length=1000)] | None = None
    """Names of the only learners it may see and use; null is all of them. Not for the role `admin`."""
    expires_at: AwareDatetime | None = None
    """When it stops working by itself; null is never."""
    quotas: KeyQuotas = KeyQuotas()


class KeyUpdate(RequestSchema):
    """What changes of a key."""

    quotas: KeyQuotas
    """In the place of all that it had: one that is left out is that of `/v1/info` again."""


class KeyDay(ReadSchema):
    """What was posted with a key within the last 24 hours, and how much may be."""

    tasks: int
    images: int
    most_tasks: int | None
    """Null is no limit."""
    most_images: int | None
    """Null is no limit."""


class KeyRead(ReadSchema):
    """A key, without its secret."""

    id: str
    name: str
    role: Role
    learners: list[str] | None
    """The only learners it may see and use, without those deleted since; null is all of them."""
    quotas: dict[str, int | None]
    """Where its limits differ from those in `/v1/info`; null is no limit."""
    day: KeyDay
    expires_at: Time | None
    last_used_at: Time | None
    """To a minute or two."""
    created_at: Time
    revoked_at: Time | None


class KeyCreated(KeyRead):
    """A new key; `key` is shown this once, and null in a replayed answer."""

    key: str | None


class LoginLinkRead(ReadSchema):
    """A link that logs a browser in, once."""

    path: str
    """To be opened at the address of the service; its token is a secret until it is used."""
    expires_at: Time


class AuditRead(ReadSchema):
    """Something that somebody has changed."""

    seq: int
    """Entries are numbered in the order they were written, with gaps."""
    created_at: Time
    key_id: str | None
    """Null for what the command line did on the machine itself."""
    key_name: str
    """As it was then; `local` for the command line."""
    action: str
    """What was done, such as `learner.delete`."""
    learner: str | None
    """The learner it was done to, which may be gone."""
    subject: str
    """What it was done to: a name or an id."""
    details: dict[str, Any]
    """What changed; `before` and `after` where there was something before."""
    request_id: str | None
    """`X-Request-Id` of the answer."""


class Limits(ReadSchema):
    """What a request may hold."""

    task_images: int
    task_bytes: int
    task_json_bytes: int
    image_bytes: int
    image_pixels: int
    predict_images: int
    predict_bytes: int
    predict_pixels: int
    """Work that decoding the images of a request may take, in pixels of PNG: `docs/photos.md` has the factors."""
    json_bytes: int
    bundle_bytes: int
    min_images: int
    classes: int | None
    """Of one learner; null is any number."""
    predict_images_per_minute: int | None
    """With one key; null is any number, and a key may have a limit of its own. So are the next three."""
    changes_per_minute: int | None
    tasks_per_day: int | None
    images_per_day: int | None
    predict_pixels_per_minute: int | None
    """With one key, as `predict_pixels`; null is any number."""
    image_formats: list[str]
    keep_prediction_images: bool
    """Whether the images of stored predictions are kept, for feedback."""
    keep_predictions_days: int
    """Days until a stored prediction is deleted, unless feedback on it is still to be learned; 0 is never."""


class Info(ReadSchema):
    """The service, to anyone who asks."""

    name: str
    version: str
    api: str
    device: str
    limits: Limits


class HeldTask(ReadSchema):
    """A task that a worker is learning."""

    id: str
    learner: str
    index: int
    phase: str
    fraction: float
    attempt: int


class WorkerRead(ReadSchema):
    """A worker that was seen within a day."""

    id: str
    kind: WorkerKind
    """`local` polls the database, `celery` waits for the doorbell."""
    state: Literal["idle", "learning", "lost", "stopped"]
    """`lost`: no sign of life for 30 s, and it did not say goodbye."""
    host: str
    pid: int
    device: str
    """Name of the GPU it learns on, or `cpu`."""
    slots: int
    """Tasks it learns at the same time."""
    version: str
    learning: list[HeldTask]
    started_at: Time
    seen_at: Time
    stopped_at: Time | None


class LoadedVersion(ReadSchema):
    """A version that answers predictions now."""

    learner: str
    version: int


class Part(ReadSchema):
    """A thread of the service that has to run all the time."""

    name: str
    state: Literal["up", "failing", "down"]
    """`failing`: an error broke its work off, which begins again within seconds. `down`: it does not run."""
    failures: int
    """How often that has happened since the service was started."""


class Readiness(ReadSchema):
    """Whether predictions are answered; all else is reported, not required."""

    status: Literal["ready", "starting", "stopping"]
    database: Literal["up", "down"]
    doorbell: DoorbellState
    """Whether Redis answers, through which workers hear of tasks; `none` where workers poll the database."""
    loaded: list[LoadedVersion]
    failing: list[LoadedVersion]
    """Live versions that could not be loaded; the ones before go on serving."""
    worker: WorkerHealth
    """Whether somebody learns what is queued: the worker that the service starts, or else any. `refused`: it cannot
    work with its settings, and is not tried again before the service is restarted. `unknown`: the database is away."""
    worker_refusal: str | None
    """Why it is `refused`; for admin keys, null for others."""
    worker_restarts: int
    """How often the worker that the service starts has died and was started again."""
    parts: list[Part]
    log_lines_dropped: int
    """Lines of the service's log that could not be written since it was started."""


class HealthFindingRead(ReadSchema):
    """Something that needs a person."""

    code: str
    """What kind of thing: `worker`, `part`, `version-not-loaded`, `disk-full`, `forgotten`, `tasks-failed`,
    `queue-slow`, `workers-lost`, `workers-other-release`, `backup-old`, `disk-filling`, `answers-not-kept` or
    `tasks-held`; a later release may know more."""
    severity: Literal["broken", "warning", "decision"]
    """`broken`: something does not work now. `warning`: see to it. `decision`: something waits for your word."""
    learner: str | None
    """Null where it is of the whole installation."""
    sentence: str
    """What is wrong."""
    next_step: str
    """What to do about it."""


class HealthRead(ReadSchema):
    """Whether anything is wrong."""

    checked_at: Time
    is_well: bool
    sentence: str
    """The whole in one sentence."""
    findings: list[HealthFindingRead]
    """Worst first."""
