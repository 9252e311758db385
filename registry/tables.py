"""The rows of the task registry, as typed SQLAlchemy 2 classes.

Every row has a text id with a prefix that tells its kind (`lrn_`, `tsk_`, `smp_`, `ver_`, `prd_`, `job_`, `key_`),
made by `registry.ids.new_id`; a worker's is the name its operator gave it. All times are `timestamptz`; all clocks that
decide something are the database's.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    DateTime,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Text,
    TypeDecorator,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from registry.statuses import OF_JOBS, TaskStatus

NAMING = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

IMPORTED = "import"
"""Mode of a task that was learned in another installation, and came here with a version."""
CONSOLIDATE = "consolidate"
"""Mode of a consolidation: it brings no images of its own, and its index counts down from -1."""
LEARNED_STAGE, CONSOLIDATED_STAGE = STAGES = ("learned", "consolidated")
"""`learned`: its tasks are answered. `consolidated`: their images have also shaped the features."""
INITIAL_PROGRESS: dict[str, Any] = {
    "phase": "queued",
    "fraction": 0.0,
    "epoch": None,
    "epochs": None,
    "eta_seconds": None,
}
TASK_PHASES = ("queued", "preparing", "training", "consolidating", "evaluating", "publishing")
WORKER_KINDS = ("local", "celery")
JOB_SOURCES = UPLOADED, PREDICTED, TAUGHT = ("upload", "predictions", "samples")
"""Where the images of a prediction job come from: sent with it, kept with predictions, or learned from."""
SETTLED = SAID, DISCARDED = ("said", "discarded")
"""Why a kept image waits for nobody's word any more: somebody said what it shows, or that it is not worth one."""
ROLES = ("reader", "predictor", "trainer", "admin")
DELIVERY_STATUSES = WAITING, DELIVERED, GIVEN_UP = ("waiting", "delivered", "given_up")
"""What may be with a message to a subscriber."""


def _one_of(column: str, values: Iterable[str]) -> str:
    return f"{column} IN ({', '.join(repr(str(value)) for value in values)})"


class StatusText(TypeDecorator[TaskStatus]):
    """A column of text that holds the status of a task."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: TaskStatus | None, dialect: Dialect) -> str | None:
        """Return the text that is stored."""
        return None if value is None else str(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> TaskStatus | None:
        """Return the status that was stored."""
        return None if value is None else TaskStatus(value)


class Row(DeclarativeBase):
    """Base of all rows."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {  # noqa: RUF012 (SQLAlchemy reads this exact attribute)
        datetime: DateTime(timezone=True),
        str: Text,
        TaskStatus: StatusText,
        dict[str, Any]: JSONB,
        list[str]: ARRAY(Text),
        list[dict[str, Any]]: JSONB,
    }


class LearnerRow(Row):
    """A named continual learner: one backbone, one strategy, a growing sequence of tasks."""

    __tablename__ = "learners"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    strategy: Mapped[str]
    backbone: Mapped[str]
    config: Mapped[dict[str, Any]]
    """The strategy's full configuration, defaults filled in."""
    metadata_: Mapped[dict[str, Any]] = mapped_column("metadata", default=dict)
    """The user's own notes; replaced whole by PATCH."""
    halved_to: Mapped[int | None] = mapped_column(Integer)
    """Short side in pixels that images keep at least while they are halved; None for the form of images of learners
    from before there was another, which are resampled. Never changed: what was learned was seen so."""
    head_version: Mapped[int] = mapped_column(Integer, default=0)
    """Version that the next task builds on; 0 before the first."""
    last_task_index: Mapped[int] = mapped_column(Integer, default=0)
    """Highest task index handed out so far."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class TaskRow(Row):
    """One increment of labelled classes. The row is the queue: status, token and lease decide who may learn it."""

    __tablename__ = "tasks"
    __table_args__ = (
        UniqueConstraint("learner_id", "index"),
        CheckConstraint(_one_of("status", TaskStatus), name="status"),
        Index("ix_tasks_status_created_at", "status", "created_at"),
        Index("ix_tasks_finished_at", "finished_at"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    learner_id: Mapped[str] = mapped_column(ForeignKey("learners.id", ondelete="CASCADE"))
    index: Mapped[int] = mapped_column(Integer)
    """Position in the learner's sequence, from 1; of a consolidation, from -1 downwards in a sequence of their own.
    Handed out at creation, never reused."""
    name: Mapped[str | None]
    mode: Mapped[str] = mapped_column(default="new_classes")
    options: Mapped[dict[str, Any]] = mapped_column(default=dict)
    config: Mapped[dict[str, Any]]
    """The configuration this task is learned with: the learner's, with the task's own overrides."""
    seed: Mapped[int] = mapped_column(Integer, default=0)
    classes: Mapped[list[str]]
    n_train: Mapped[int] = mapped_column(Integer)
    n_eval: Mapped[int] = mapped_column(Integer)
    rejected: Mapped[list[dict[str, Any]]] = mapped_column(default=list)
    """Images left out with `on_bad_image=skip`: `{index, filename, problem}` each."""
    status: Mapped[TaskStatus] = mapped_column(default=TaskStatus.QUEUED)
    progress: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """`{phase, fraction, epoch, epochs, eta_seconds}`."""
    attempt: Mapped[int] = mapped_column(Integer, default=0)
    """How often a worker started to learn it. Given up as `worker-lost` after `registry.queue.MAX_ATTEMPTS`."""
    token: Mapped[int] = mapped_column(Integer, default=0)
    """Fencing token: raised by every claim; writes of an older token are refused."""
    lease_until: Mapped[datetime | None]
    not_before: Mapped[datetime | None]
    rung_at: Mapped[datetime | None]
    """When the doorbell last rang for it; None for one that nobody was told of yet."""
    worker_id: Mapped[str | None]
    checkpoint: Mapped[str | None]
    """Blob that an interrupted attempt goes on from."""
    held_out_features: Mapped[str | None]
    """Blob with the features of its held-out images, as the learner's head or an earlier version saw them. None until
    they were measured, and once some of the images are gone."""
    version: Mapped[int | None] = mapped_column(Integer)
    """Number of the version it was published as."""
    pending_version: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    """What a `held` task would publish."""
    error: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    """`{code, detail}` of the last failed attempt."""
    result: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    """Of a consolidation that came to an end: `models.strategies.values.ConsolidationReport`; None for a task."""
    findings: Mapped[list[dict[str, Any]]] = mapped_column(default=list)
    """What looked wrong with its images: `{code, detail, ...}` each. Some of them hold it before it is learned."""
    quarantined: Mapped[list[dict[str, Any]]] = mapped_column(default=list)
    """Images kept but left out of learning and evaluating: `{index, filename, reason}` each."""
    layout: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    """How its folders were read: `{splits, tables, notes, left_out, left_out_files}`; None if labels came otherwise."""
    n_duplicates: Mapped[int] = mapped_column(Integer, default=0)
    """Images that came more than once in its request, counted without the first."""
    n_known: Mapped[int] = mapped_column(Integer, default=0)
    """Images of its request that were left out because the learner had them already."""
    n_splits_kept: Mapped[int] = mapped_column(Integer, default=0)
    """Images of its request that stayed on the side they had before, although it named the other one."""
    n_feedback: Mapped[int] = mapped_column(Integer, default=0)
    """How many pieces of feedback it took to learn from."""
    key_id: Mapped[str | None]
    """The key that posted it; None for one from before keys were noted."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class SampleRow(Row):
    """One uploaded image with its label and split. Its pixels lie in the blob store under their sha256."""

    __tablename__ = "samples"
    __table_args__ = (
        UniqueConstraint("task_id", "position"),
        CheckConstraint(_one_of("split", ("train", "eval")), name="split"),
        Index("ix_samples_blob_sha256", "blob_sha256"),
        Index("ix_samples_source_sha256", "source_sha256"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    task_id: Mapped[str] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"))
    position: Mapped[int] = mapped_column(Integer)
    label: Mapped[str]
    """What it shows, with the learner's head."""
    taught_label: Mapped[str | None]
    """What it was sent with, where a correction has changed that; None where it is still `label`."""
    split: Mapped[str]
    blob_sha256: Mapped[str]
    """The canonical image: upright RGB, re-encoded as PNG without metadata."""
    source_sha256: Mapped[str | None]
    """The file as it was sent, which is not kept: it tells the same file again after the decoder has changed. None for
    an image of feedback, and for one from before this was noted."""
    filename: Mapped[str | None]
    """What the sender called it, cleaned for display. Never a path."""
    quarantine: Mapped[str | None]
    """Why it is left out of learning and evaluating: a code such as `blank`, or `removed` where a correction took it
    out; None for one that is used."""
    width: Mapped[int] = mapped_column(Integer)
    height: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class VersionRow(Row):
    """An immutable snapshot of a learner, numbered 1.. without gaps. The database lets one be erased, never updated."""

    __tablename__ = "versions"
    __table_args__ = (
        UniqueConstraint("learner_id", "number"),
        UniqueConstraint("task_id"),
        CheckConstraint("(manifest_sha256 IS NULL) = (erased_at IS NOT NULL)", name="erased"),
        CheckConstraint(_one_of("stage", STAGES), name="stage"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    learner_id: Mapped[str] = mapped_column(ForeignKey("learners.id", ondelete="CASCADE"))
    number: Mapped[int] = mapped_column(Integer)
    parent: Mapped[int | None] = mapped_column(Integer)
    task_id: Mapped[str] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"))
    task_index: Mapped[int] = mapped_column(Integer)
    config: Mapped[dict[str, Any]]
    seed: Mapped[int] = mapped_column(Integer)
    backbone_fingerprint: Mapped[str]
    manifest_sha256: Mapped[str | None]
    """Blob of `manifest.json`, which names every tensor file by its sha256: the artifact's one address. None once the
    version was erased; `registry.versions.address_of` says so in a sentence."""
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    tasks: Mapped[list[int]] = mapped_column(ARRAY(Integer))
    """Indexes of the tasks it knows something of, in the order they were learned."""
    stage: Mapped[str] = mapped_column(default=LEARNED_STAGE, server_default=LEARNED_STAGE)
    unconsolidated: Mapped[list[int]] = mapped_column(
        ARRAY(Integer), default=list, server_default="{}"
    )
    """Those of its tasks that wait for a consolidation, in order; their images may be gone since."""
    classes: Mapped[list[str]]
    metrics: Mapped[dict[str, Any]]
    """Learning report: seconds, passes, calibration, routing; as `models.evaluation` made it."""
    code_versions: Mapped[dict[str, Any]]
    erased_at: Mapped[datetime | None]
    """When its artifact was given up, because it held what was unlearned since."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class AliasRow(Row):
    """A movable name of a version. `live` is the one that is served."""

    __tablename__ = "aliases"

    learner_id: Mapped[str] = mapped_column(
        ForeignKey("learners.id", ondelete="CASCADE"), primary_key=True
    )
    name: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(Integer)
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now(), onupdate=func.now())


class AccuracyRow(Row):
    """Accuracy on one task's images with one version: a cell of the accuracy matrix."""

    __tablename__ = "accuracies"

    learner_id: Mapped[str] = mapped_column(
        ForeignKey("learners.id", ondelete="CASCADE"), primary_key=True
    )
    version: Mapped[int] = mapped_column(Integer, primary_key=True)
    task_index: Mapped[int] = mapped_column(Integer, primary_key=True)
    n: Mapped[int] = mapped_column(Integer)
    """Held-out images evaluated."""
    n_correct: Mapped[int] = mapped_column(Integer)
    n_routed: Mapped[int] = mapped_column(Integer)
    """Images for which at least one synapse was functional."""
    n_routed_right: Mapped[int] = mapped_column(Integer)
    """Of those, images whose own task's synapse was functional."""
    passes: Mapped[float] = mapped_column(Float)
    """Mean forwards of the backbone a held-out image."""
    n_cross_validated: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    """Training images answered by a head that never saw them."""
    n_cross_validated_correct: Mapped[int] = mapped_column(Integer, default=0, server_default="0")


class PredictionRow(Row):
    """One answered prediction request, kept for the history."""

    __tablename__ = "predictions"
    __table_args__ = (
        Index("ix_predictions_learner_id_created_at", "learner_id", "created_at"),
        Index("ix_predictions_created_at", "created_at"),
        Index("ix_predictions_labels", "labels", postgresql_using="gin"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    learner_id: Mapped[str] = mapped_column(ForeignKey("learners.id", ondelete="CASCADE"))
    version: Mapped[int] = mapped_column(Integer)
    results: Mapped[list[dict[str, Any]]]
    labels: Mapped[list[str]]
    """The labels answered, to find requests by label."""
    has_unknown: Mapped[bool] = mapped_column(Boolean)
    """Whether any image looked like no known class."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class PredictionImageRow(Row):
    """An image of a stored prediction, kept so that feedback on it can be learned from."""

    __tablename__ = "prediction_images"
    __table_args__ = (Index("ix_prediction_images_blob_sha256", "blob_sha256"),)

    prediction_id: Mapped[str] = mapped_column(
        ForeignKey("predictions.id", ondelete="CASCADE"), primary_key=True
    )
    index: Mapped[int] = mapped_column(Integer, primary_key=True)
    """Of the result it got."""
    blob_sha256: Mapped[str]
    """The canonical image, as in `SampleRow`."""
    width: Mapped[int] = mapped_column(Integer)
    height: Mapped[int] = mapped_column(Integer)


class ReviewRow(Row):
    """What orders a kept image among those that a person may say a word about, and tells which look like it.

    Goes with its image. Labels are as they were learned.
    """

    __tablename__ = "reviews"
    __table_args__ = (
        ForeignKeyConstraint(
            ["prediction_id", "index"],
            ["prediction_images.prediction_id", "prediction_images.index"],
            name="fk_reviews_prediction_id_prediction_images",
            ondelete="CASCADE",
        ),
        CheckConstraint(_one_of("settled", SETTLED), name="settled"),
        Index(
            "ix_reviews_waiting",
            "learner_id",
            "usefulness",
            "prediction_id",
            "index",
            postgresql_where=text("settled IS NULL"),
        ),
        Index("ix_reviews_act", "act", postgresql_where=text("act IS NOT NULL")),
    )

    prediction_id: Mapped[str] = mapped_column(primary_key=True)
    index: Mapped[int] = mapped_column(Integer, primary_key=True)
    learner_id: Mapped[str]
    version: Mapped[int] = mapped_column(Integer)
    """Which answered it last."""
    top: Mapped[list[dict[str, Any]]]
    """The best classes of that answer, each `{label, score}`."""
    label: Mapped[str]
    score: Mapped[float] = mapped_column(Float)
    novelty: Mapped[float] = mapped_column(Float)
    is_known: Mapped[bool] = mapped_column(Boolean)
    below: Mapped[float | None] = mapped_column(Float)
    """The score that its class needs, where the answer's is less."""
    without: Mapped[str | None]
    """What would have been answered without a sub-network, if that is another class."""
    other_label: Mapped[str | None]
    """What another version said, if that is another class."""
    other_version: Mapped[int | None] = mapped_column(Integer)
    usefulness: Mapped[float] = mapped_column(Float)
    """Of a word about it, in `[0, 1]`; see `registry.usefulness`."""
    filename: Mapped[str | None]
    small: Mapped[bytes | None] = mapped_column(LargeBinary)
    """Nine by eight pixels of it, RGB: near-duplicates are told by them. None of an image of an earlier release."""
    features: Mapped[bytes | None] = mapped_column(LargeBinary)
    """What the answer was read from, float16; only of what is worth a look, and where the strategy reads features."""
    features_of: Mapped[str | None]
    """What made them: features of different makers cannot be compared."""
    answered_at: Mapped[datetime]
    settled: Mapped[str | None]
    """One of `SETTLED` once it does not wait any more."""
    act: Mapped[str | None]
    """What settled it: all images that one act settled can be taken back together."""


class PredictionJobRow(Row):
    """Many images to predict behind the requests' backs, all by one version. The row is the queue, as a task's is."""

    __tablename__ = "prediction_jobs"
    __table_args__ = (
        CheckConstraint(_one_of("status", sorted(OF_JOBS)), name="status"),
        CheckConstraint(_one_of("source", JOB_SOURCES), name="source"),
        Index("ix_prediction_jobs_learner_id_created_at", "learner_id", "created_at"),
        Index("ix_prediction_jobs_status_served_at", "status", "served_at"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    learner_id: Mapped[str] = mapped_column(ForeignKey("learners.id", ondelete="CASCADE"))
    version: Mapped[int] = mapped_column(Integer)
    """That answers all of its images."""
    source: Mapped[str]
    """Where the images come from: one of `JOB_SOURCES`."""
    query: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """What was asked of stored images; empty for uploaded ones."""
    top_k: Mapped[int] = mapped_column(Integer)
    trace: Mapped[str]
    """How much of the route an answer tells."""
    n_images: Mapped[int] = mapped_column(Integer)
    n_done: Mapped[int] = mapped_column(Integer, default=0)
    """Images that have an answer or a problem."""
    n_problems: Mapped[int] = mapped_column(Integer, default=0)
    n_unknown: Mapped[int] = mapped_column(Integer, default=0)
    """Images that look like no known class."""
    n_changed: Mapped[int] = mapped_column(Integer, default=0)
    """Images that are answered otherwise than before."""
    status: Mapped[TaskStatus] = mapped_column(default=TaskStatus.QUEUED)
    token: Mapped[int] = mapped_column(Integer, default=0)
    """Fencing token: raised by every claim; answers of an older one are refused."""
    lease_until: Mapped[datetime | None]
    """Until when the service that has some of its images may take for them; None while none has."""
    served_at: Mapped[datetime | None]
    """When some of its images were answered last: jobs take turns by it."""
    n_lost: Mapped[int] = mapped_column(Integer, default=0)
    """How often in a row a service that had some of its images was not heard of again."""
    error: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    """`{code, detail}` of what ended it."""
    key_id: Mapped[str | None]
    """The key that posted it."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class PredictionJobImageRow(Row):
    """An image of a prediction job, and what it came to."""

    __tablename__ = "prediction_job_images"
    __table_args__ = (
        Index("ix_prediction_job_images_blob_sha256", "blob_sha256"),
        Index(
            "ix_prediction_job_images_waiting",
            "job_id",
            "index",
            postgresql_where=text("result IS NULL"),
        ),
    )

    job_id: Mapped[str] = mapped_column(
        ForeignKey("prediction_jobs.id", ondelete="CASCADE"), primary_key=True
    )
    index: Mapped[int] = mapped_column(Integer, primary_key=True)
    """In the order they were sent, or found."""
    name: Mapped[str]
    """What the sender called it; of a stored image its id. Never a path to open."""
    blob_sha256: Mapped[str | None]
    """The canonical image of an uploaded file, as in `SampleRow`; None for one that was refused, or is gone."""
    prediction_id: Mapped[str | None]
    """The stored prediction whose image it is, which may be gone since: nothing keeps it for this."""
    prediction_index: Mapped[int | None] = mapped_column(Integer)
    sample_id: Mapped[str | None]
    """The sample whose image it is, likewise."""
    before: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    """What a stored image was answered, or is labelled: `{label, score, known, version}`, as far as there is any."""
    result: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    """The answer, or `{problem}`; None while it waits."""
    label: Mapped[str | None]
    """Of the answer, as it was learned."""
    is_known: Mapped[bool | None] = mapped_column(Boolean)
    is_changed: Mapped[bool | None] = mapped_column(Boolean)
    """Whether the answer differs from `before`; None where there is none of either."""


class FeedbackRow(Row):
    """What a user says is really on an image of a stored prediction. The last word on an image counts."""

    __tablename__ = "feedback"
    __table_args__ = (Index("ix_feedback_task_id", "task_id"),)

    prediction_id: Mapped[str] = mapped_column(
        ForeignKey("predictions.id", ondelete="CASCADE"), primary_key=True
    )
    index: Mapped[int] = mapped_column(Integer, primary_key=True)
    label: Mapped[str]
    key_id: Mapped[str]
    """The key it was given with."""
    task_id: Mapped[str | None] = mapped_column(ForeignKey("tasks.id", ondelete="SET NULL"))
    """The task that took it to learn from; None while none has."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class ClassRow(Row):
    """What an operator has set about a class of a learner. A class nobody touched has no row."""

    __tablename__ = "classes"
    __table_args__ = (UniqueConstraint("learner_id", "name"),)

    learner_id: Mapped[str] = mapped_column(
        ForeignKey("learners.id", ondelete="CASCADE"), primary_key=True
    )
    label: Mapped[str] = mapped_column(primary_key=True)
    """As it was learned; what versions and samples hold."""
    name: Mapped[str | None]
    """What answers call it instead; None leaves the label."""
    is_hidden: Mapped[bool] = mapped_column(Boolean, default=False)
    """Whether predictions never answer it."""
    min_score: Mapped[float | None] = mapped_column(Float)
    """Score below which an answer of it counts as not known; None for none."""
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now(), onupdate=func.now())


class EventRow(Row):
    """Something that happened to a task, in order; what `GET /v1/tasks/{id}/events` streams."""

    __tablename__ = "events"
    __table_args__ = (Index("ix_events_task_id_seq", "task_id", "seq"),)

    seq: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    task_id: Mapped[str] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"))
    type: Mapped[str]
    data: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class KeyRow(Row):
    """An API key `fil_<id>_<secret>`; only the secret's SHA-256 is kept."""

    __tablename__ = "keys"
    __table_args__ = (CheckConstraint(_one_of("role", ROLES), name="role"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    """The `<id>` inside the key: 12 lower-case hex digits."""
    name: Mapped[str]
    role: Mapped[str]
    secret_sha256: Mapped[str]
    learner_ids: Mapped[list[str] | None]
    """The only learners it may see and use; None is all of them."""
    quotas: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """Where its limits differ from the installation's: see `registry.keys`."""
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    """To the minute or so."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    revoked_at: Mapped[datetime | None]


class AuditRow(Row):
    """Something that somebody with a key has changed. The database lets none be altered or removed."""

    __tablename__ = "audit"
    __table_args__ = (
        Index("ix_audit_key_id_seq", "key_id", "seq"),
        Index("ix_audit_learner_seq", "learner", "seq"),
    )

    seq: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    key_id: Mapped[str | None]
    """None for what the command line did on the machine itself."""
    key_name: Mapped[str]
    action: Mapped[str]
    """Such as `learner.delete`."""
    learner: Mapped[str | None]
    """Name of the learner it was done to, which may be gone since."""
    subject: Mapped[str]
    """What it was done to: a name or an id."""
    details: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """What changed, before and after."""
    request_id: Mapped[str | None]


class EndedSessionRow(Row):
    """A browser session that somebody has logged out of, kept until its cookie has expired."""

    __tablename__ = "ended_sessions"

    session_sha256: Mapped[str] = mapped_column(primary_key=True)
    """Of the cookie's value."""
    ended_at: Mapped[datetime] = mapped_column(server_default=func.now(), index=True)


class LoginLinkRow(Row):
    """A link that logs one browser in, kept until it is used or too old."""

    __tablename__ = "login_links"

    token_sha256: Mapped[str] = mapped_column(primary_key=True)
    """Of what stands in the link."""
    key_id: Mapped[str]
    """Of the key that it stands for."""
    made_at: Mapped[datetime] = mapped_column(server_default=func.now(), index=True)


class IdempotencyRow(Row):
    """The first answer to a creating POST, replayed when the same key comes again within 24 h."""

    __tablename__ = "idempotency_keys"

    scope: Mapped[str] = mapped_column(primary_key=True)
    """`<api key id> <method> <path>`."""
    key: Mapped[str] = mapped_column(primary_key=True)
    body_sha256: Mapped[str]
    status_code: Mapped[int | None] = mapped_column(Integer)
    """None while the first request still runs."""
    headers: Mapped[dict[str, Any]] = mapped_column(default=dict)
    body: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class WorkerRow(Row):
    """A worker that has been seen. What it learns stands in the task's row."""

    __tablename__ = "workers"
    __table_args__ = (CheckConstraint(_one_of("kind", WORKER_KINDS), name="kind"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    """`local` polls the database, `celery` waits for the doorbell."""
    host: Mapped[str]
    pid: Mapped[int] = mapped_column(Integer)
    device: Mapped[str]
    """Where it learns: the name of its GPU, or `cpu`."""
    slots: Mapped[int] = mapped_column(Integer)
    version: Mapped[str]
    """Of its code."""
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    seen_at: Mapped[datetime] = mapped_column(server_default=func.now())
    stopped_at: Mapped[datetime | None]
    """When it said goodbye; None for one that runs, or was killed."""


class SubscriptionRow(Row):
    """Who is told of what happens, and of what: see `registry.subscriptions`."""

    __tablename__ = "subscriptions"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    learner_id: Mapped[str | None] = mapped_column(ForeignKey("learners.id", ondelete="CASCADE"))
    """The only learner that is listened to; None for all."""
    target: Mapped[str]
    """A URL, or `mqtt:` and a topic."""
    secret: Mapped[str]
    """What messages are signed with. As it is: whoever signs has to have it."""
    events: Mapped[list[str]]
    rule: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """As `registry.notices.Rule` has it."""
    disabled_at: Mapped[datetime | None]
    disabled_reason: Mapped[str | None]
    """A sentence; None while messages are sent."""
    failing_since: Mapped[datetime | None]
    """When the first try failed since one went well."""
    n_dropped: Mapped[int] = mapped_column(Integer, default=0)
    """Messages that were not kept because too many waited."""
    announced: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """By learner, the images without a class that it was told of: `[prediction, index]` each."""
    looked_at: Mapped[datetime | None]
    """When images without a class were last looked at for it."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class DeliveryRow(Row):
    """A message to a subscriber: it waits, is claimed by one service, and is kept for a while with what came of it."""

    __tablename__ = "deliveries"
    __table_args__ = (
        CheckConstraint(_one_of("status", DELIVERY_STATUSES), name="status"),
        Index("ix_deliveries_due_at", "due_at", postgresql_where=text("status = 'waiting'")),
        Index("ix_deliveries_subscription_id_id", "subscription_id", "id"),
        Index("ix_deliveries_learner_id", "learner_id"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    """The receiver's `webhook-id`, the same in each try."""
    subscription_id: Mapped[str] = mapped_column(ForeignKey("subscriptions.id", ondelete="CASCADE"))
    learner_id: Mapped[str | None] = mapped_column(ForeignKey("learners.id", ondelete="CASCADE"))
    event: Mapped[str]
    data: Mapped[dict[str, Any]]
    status: Mapped[str] = mapped_column(default=WAITING)
    attempt: Mapped[int] = mapped_column(Integer, default=0)
    """How often it was claimed; the number fences: what an older claim has to say is not listened to."""
    spent: Mapped[int] = mapped_column(Integer, default=0)
    """Tries since it was last asked for: what the schedule of tries counts."""
    due_at: Mapped[datetime] = mapped_column(server_default=func.now())
    """When it is tried next; while a service has it, when another one takes it over."""
    tries: Mapped[list[dict[str, Any]]] = mapped_column(default=list)
    """What came of each: `{at, status_code, duration_ms, error}`; the last `MOST_TRIES`."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    finished_at: Mapped[datetime | None]
