"""Schemas of accuracy, versions, keys and the state of the service."""

from typing import Any, Literal

from service.intake.labels import ShortText
from service.schemas.base import ReadSchema, RequestSchema, Time

Role = Literal["reader", "predictor", "trainer", "admin"]
WorkerKind = Literal["local", "celery"]
DoorbellState = Literal["up", "down", "none"]


class AccuracyRead(ReadSchema):
    """How well every task is known with every version."""

    learner: str
    tasks: list[int]
    versions: list[int]
    matrix: list[list[float | None]]
    """Row v, column t: accuracy on task t with version v; null where it was not evaluated."""
    n: list[list[int | None]]
    """Images evaluated, in the same places."""
    last: float | None
    average: float | None
    forgetting: float | None
    backward_transfer: float | None
    plasticity: list[float | None]
    stability: list[float | None]
    routing: list[float | None]
    passes: list[float | None]
    unlearned: list[int]
    """Those of `tasks` that the head no longer knows."""
    superseded: list[int]
    """Tasks that a rollback left beside the line of versions that leads to the head; none of the columns."""


class VersionRead(ReadSchema):
    """An immutable snapshot of a learner."""

    number: int
    parent: int | None
    task: int
    """Index of the task that made it."""
    task_id: str
    tasks: list[int]
    """Indexes of the tasks it knows something of."""
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
    """What a version took held-out images for."""

    learner: str
    version: int
    classes: list[str]
    confusion: dict[int, dict[str, dict[str, int]]]
    """By task index, true label and answered label."""


class KeyCreate(RequestSchema):
    """A key to create."""

    name: ShortText
    role: Role


class KeyRead(ReadSchema):
    """A key, without its secret."""

    id: str
    name: str
    role: Role
    created_at: Time
    revoked_at: Time | None


class KeyCreated(KeyRead):
    """A new key; `key` is shown this once, and null in a replayed answer."""

    key: str | None


class Limits(ReadSchema):
    """What a request may hold."""

    task_images: int
    task_bytes: int
    task_json_bytes: int
    image_bytes: int
    image_pixels: int
    predict_images: int
    predict_bytes: int
    json_bytes: int
    bundle_bytes: int
    min_images: int
    image_formats: list[str]


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


class Readiness(ReadSchema):
    """Whether predictions are answered; the database is reported, not required."""

    status: Literal["ready", "starting"]
    database: Literal["up", "down"]
    doorbell: DoorbellState
    """Whether Redis answers, through which workers hear of tasks; `none` where workers poll the database."""
    loaded: list[LoadedVersion]
    failing: list[LoadedVersion]
    """Live versions that could not be loaded; the ones before go on serving."""
