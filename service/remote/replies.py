"""What the service replies with, as typed dictionaries: the JSON of the public API, key by key.

The client hands the JSON on as it came, so a key that a newer service adds is kept.
"""

from typing import Any, NotRequired, TypedDict


class Accuracy(TypedDict):
    """Headline numbers of a learner, each in [0, 1]; None where they are not defined yet."""

    last: float | None
    average: float | None
    forgetting: float | None


class Learner(TypedDict):
    """A named continual learner."""

    name: str
    strategy: str
    backbone: str
    config: dict[str, Any]
    metadata: NotRequired[dict[str, Any]]
    created_at: str
    classes: int
    tasks: int
    head_version: int
    live_version: int
    accuracy: Accuracy
    etag: NotRequired[str]
    """Of its metadata, where one learner was read; the client takes it from the answer's headers."""


class Strategy(TypedDict):
    """A way to learn that a learner can be created with."""

    name: str
    summary: str
    keeps_images: bool
    unlearning: str
    defaults: dict[str, Any]
    config_schema: dict[str, Any]


class Backbone(TypedDict):
    """A frozen network that a learner can be created with."""

    name: str
    source: str
    image_size: int | None
    description: str


class LearnedClass(TypedDict):
    """A class that a learner knows."""

    label: str
    name: NotRequired[str]
    hidden: NotRequired[bool]
    task: int
    samples: dict[str, int]
    accuracy_learned: float | None
    n_learned: NotRequired[int]
    accuracy_now: float | None
    n_now: NotRequired[int]
    etag: NotRequired[str]
    """Of its name and whether it is hidden, where one class was read or changed."""


class UnlearnPreview(TypedDict):
    """What would be gone for good once it is unlearned."""

    learner: str
    tasks: list[int]
    classes: list[str]
    versions: list[int]
    images: int
    live_version: int


class Alias(TypedDict):
    """A movable name of a version: `live` is the one that answers."""

    name: str
    version: int
    head_version: NotRequired[int]


class TaskProgress(TypedDict):
    """How far the learning of a task is."""

    phase: str
    fraction: float
    epoch: int | None
    epochs: int | None
    eta_seconds: float | None


class TaskSamples(TypedDict):
    """How many images a task has."""

    train: int
    eval: int


class Rejected(TypedDict):
    """An image left out of a task."""

    index: int
    filename: str | None
    problem: str


class Quarantined(TypedDict):
    """An image that is kept but not used."""

    index: int
    filename: str | None
    reason: str


class Finding(TypedDict):
    """Something that looked wrong with a task's images, or with what learning them did."""

    code: str
    detail: str
    holds: bool
    classes: list[str]
    numbers: dict[str, float]


class TaskError(TypedDict):
    """Why a task failed."""

    code: str
    detail: str


class LeftOutFile(TypedDict):
    """A file of an upload that is no part of the data."""

    path: str
    reason: str


class UploadLayout(TypedDict):
    """How the folders of an upload were read."""

    splits: dict[str, str]
    tables: list[str]
    notes: list[str]
    left_out: int
    left_out_files: list[LeftOutFile]


class Task(TypedDict):
    """One increment of labelled classes."""

    id: str
    learner: str
    index: int
    name: str | None
    mode: NotRequired[str]
    status: str
    position: int | None
    classes: list[str]
    samples: TaskSamples
    from_feedback: NotRequired[int]
    rejected: list[Rejected]
    quarantined: NotRequired[list[Quarantined]]
    layout: NotRequired[UploadLayout | None]
    duplicates: NotRequired[int]
    known: NotRequired[int]
    splits_kept: NotRequired[int]
    findings: NotRequired[list[Finding]]
    progress: TaskProgress
    attempt: int
    version: int | None
    error: TaskError | None
    options: NotRequired[dict[str, Any]]
    config: NotRequired[dict[str, Any]]
    created_at: str
    started_at: str | None
    finished_at: str | None


class TaskEvent(TypedDict):
    """Something that happened to a task."""

    seq: int
    type: str
    data: dict[str, Any]
    created_at: str


class Sample(TypedDict):
    """A stored image of a task."""

    id: str
    label: str
    split: str
    filename: str | None
    quarantine: NotRequired[str | None]
    width: int
    height: int
    created_at: str


class SamplesDropped(TypedDict):
    """How many images were deleted."""

    deleted: int


class RankedLabel(TypedDict):
    """A label among the best ones of an image."""

    label: str
    score: float
    task: int


class SynapseState(TypedDict):
    """One task's synapse for one image: `functional` or `silent`."""

    task: int
    current: float
    threshold: float
    state: str


class Route(TypedDict):
    """Which sub-networks took part in an answer."""

    functional: list[int]
    silent: list[int]
    passes: float
    synapses: NotRequired[list[SynapseState] | None]


class PredictionResult(TypedDict):
    """The answer for one image; of one that could not be used, `problem` says why."""

    index: int
    filename: str | None
    label: str
    score: float
    task: int
    novelty: float
    known: bool
    top: list[RankedLabel]
    route: NotRequired[Route | None]
    warnings: NotRequired[list[str]]
    problem: NotRequired[dict[str, Any] | None]


class Prediction(TypedDict):
    """The answer to one prediction request."""

    id: str
    learner: str
    version: int
    results: list[PredictionResult]
    timing_ms: dict[str, float]


class GivenFeedback(TypedDict):
    """What a user said is really on an image of a prediction; `task` is what took it to learn from."""

    index: int
    label: str
    task: str | None
    created_at: str


class Feedback(TypedDict):
    """The same beside what was answered."""

    prediction: str
    index: int
    label: str
    answered: str
    score: float
    version: int
    filename: str | None
    task: str | None
    created_at: str


class StoredPrediction(TypedDict):
    """A prediction from the history."""

    id: str
    learner: str
    version: int
    results: list[dict[str, Any]]
    images: NotRequired[list[int]]
    feedback: NotRequired[list[GivenFeedback]]
    created_at: str


class AccuracyHistory(TypedDict):
    """How well every task was known after every task; row i of `matrix` is version i."""

    learner: str
    version: NotRequired[int]
    live_version: NotRequired[int]
    tasks: list[int]
    versions: list[int]
    matrix: list[list[float | None]]
    n: list[list[int | None]]
    last: float | None
    average: float | None
    forgetting: float | None
    backward_transfer: float | None
    plasticity: list[float | None]
    stability: list[float | None]
    routing: list[float | None]
    passes: list[float | None]
    unlearned: NotRequired[list[int]]
    superseded: NotRequired[list[int]]


class Version(TypedDict):
    """An immutable snapshot of a learner."""

    number: int
    parent: int | None
    task: int
    task_id: NotRequired[str]
    tasks: NotRequired[list[int]]
    config: dict[str, Any]
    seed: int
    backbone_fingerprint: NotRequired[str]
    artifact_sha256: NotRequired[str | None]
    size_bytes: int
    classes: list[str]
    metrics: NotRequired[dict[str, Any]]
    code_versions: NotRequired[dict[str, Any]]
    is_live: bool
    erased_at: NotRequired[str | None]
    created_at: str


class Confusion(TypedDict):
    """What a version took held-out images for: counts by task, true label and answered label."""

    learner: str
    version: int
    classes: list[str]
    confusion: dict[str, dict[str, dict[str, int]]]


class Key(TypedDict):
    """An API key. `key`, the whole secret, comes once: when it is created."""

    id: str
    name: str
    role: str
    learners: NotRequired[list[str] | None]
    quotas: NotRequired[dict[str, int | None]]
    expires_at: NotRequired[str | None]
    last_used_at: NotRequired[str | None]
    created_at: str
    revoked_at: NotRequired[str | None]
    key: NotRequired[str]


class LoginLink(TypedDict):
    """A link that logs a browser in, once."""

    path: str
    expires_at: str


class AuditEntry(TypedDict):
    """Something that somebody has changed."""

    seq: int
    created_at: str
    key_id: str | None
    key_name: str
    action: str
    learner: str | None
    subject: str
    details: dict[str, Any]
    request_id: str | None


class HeldTask(TypedDict):
    """A task that a worker is learning."""

    id: str
    learner: str
    index: int
    phase: str
    fraction: float
    attempt: int


class Worker(TypedDict):
    """A worker that was seen within a day."""

    id: str
    kind: str
    state: str
    host: str
    pid: int
    device: str
    slots: int
    version: str
    learning: list[HeldTask]
    started_at: str
    seen_at: str
    stopped_at: str | None


class LoadedVersion(TypedDict):
    """A version that answers predictions now."""

    learner: str
    version: int


class Part(TypedDict):
    """A thread of the service that has to run all the time."""

    name: str
    state: str
    failures: int


class Readiness(TypedDict):
    """Whether predictions are answered, and by what."""

    status: str
    database: str
    doorbell: str
    loaded: list[LoadedVersion]
    failing: list[LoadedVersion]
    worker: str
    worker_refusal: str | None
    worker_restarts: int
    parts: list[Part]
    log_lines_dropped: int


class Info(TypedDict):
    """The service, to anyone who asks."""

    name: str
    version: str
    api: str
    device: str
    limits: dict[str, Any]
