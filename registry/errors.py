"""Errors of the registry.

    RegistryError
    ├── SentenceError                  its sentence stands in its class
    │   ├── NotFoundError              something asked for does not exist
    │   │   ├── LearnerNotFoundError, TaskNotFoundError, VersionNotFoundError
    │   │   ├── SampleNotFoundError, PredictionNotFoundError, KeyNotFoundError
    │   │   ├── PredictionImageNotFoundError, FeedbackNotFoundError, ClassNotFoundError
    │   │   ├── PredictionJobNotFoundError, PredictionJobImageNotFoundError
    │   │   └── SubscriptionNotFoundError, DeliveryNotFoundError
    │   ├── ConflictError              the request contradicts the state of the registry
    │   │   ├── LearnerExistsError, LearnerBusyError, StaleHeadError, AliasMovedError
    │   │   ├── LabelKnownError, LabelConfusableError, ClassNameTakenError
    │   │   ├── TaskEndedError, TaskNotRetryableError, TaskNotHeldError
    │   │   ├── NothingLearnedError, VersionErasedError, TrainingImagesGoneError
    │   │   ├── ConsolidationOffError, NothingToConsolidateError
    │   │   ├── ImageNotKeptError, FeedbackTakenError, FeedbackChangedError
    │   │   ├── PredictionJobEndedError, NothingToPredictError
    │   │   ├── NothingToCorrectError, ClassWouldBeEmptyError
    │   │   ├── SubscriptionDisabledError
    │   │   └── IdempotencyInProgressError
    │   ├── BlobError                  BlobMissingError, BlobDamagedError, StorageFullError
    │   ├── BlobStoreUnavailableError, DatabaseUnavailableError, SchemaTooNewError
    │   ├── QuotaExceededError, IdempotencyKeyReusedError, InvalidCursorError
    │   ├── UnknownResultError, UnknownContentError, NothingWouldRemainError
    │   ├── ImagesNotCorrectableError
    │   └── FencedError                a worker's token is no longer current: its writes are refused
    ├── InvalidKeyError, BlobLocationError, BundleRejectedError, SettingsError, DataDirUnusableError
    ├── BackupError                    BackupIncompleteError, BackupDamagedError, RestoreRefusedError
    └── EmbeddedDatabaseError          DataDirBusyError

Each carries one full sentence a user can act on, and a `code`: the slug clients see. They know no HTTP.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, dataclass_transform


class RegistryError(Exception):
    """Base of all errors of the registry. Those without a sentence of their own are raised with one."""

    code: ClassVar[str] = "registry-error"


@dataclass_transform(eq_default=False)
class SentenceError(RegistryError):
    """Base of errors that say the sentence of their class, with what they are raised with put in: `{self.number}`.

    A subclass is a dataclass of that, in the order it is given. Its sentence is its docstring too.
    """

    sentence: ClassVar[str]

    def __init_subclass__(cls) -> None:
        if cls.__doc__ is None:
            cls.__doc__ = cls.sentence
        dataclass(eq=False, repr=False)(cls)

    def __post_init__(self) -> None:
        super().__init__(self.sentence.format(self=self))


class NotFoundError(SentenceError):
    """Something asked for does not exist."""

    code = "not-found"


class LearnerNotFoundError(NotFoundError):
    code = "learner-not-found"
    sentence = "There is no learner of this name; create it with POST /v1/learners."
    learner: str


class TaskNotFoundError(NotFoundError):
    code = "task-not-found"
    sentence = "There is no task with this id."
    task_id: str


class VersionNotFoundError(NotFoundError):
    code = "version-not-found"
    sentence = "This learner has no version {self.number}."
    learner_id: str
    number: int


class PredictionJobNotFoundError(NotFoundError):
    code = "prediction-job-not-found"
    sentence = "There is no prediction job with this id."
    job_id: str


class PredictionJobImageNotFoundError(NotFoundError):
    code = "prediction-job-image-not-found"
    sentence = "The job has no image of this index, or it is not kept any more."


class PredictionImageNotFoundError(NotFoundError):
    code = "prediction-image-not-found"
    sentence = "No image of this index is kept of this prediction."


class FeedbackNotFoundError(NotFoundError):
    code = "feedback-not-found"
    sentence = "There is no feedback on this image."


class SampleNotFoundError(NotFoundError):
    code = "sample-not-found"
    sentence = "There is no sample with this id, or its image was deleted."
    sample_id: str


class PredictionNotFoundError(NotFoundError):
    code = "prediction-not-found"
    sentence = "There is no stored prediction with this id."
    prediction_id: str


class ClassNotFoundError(NotFoundError):
    code = "class-not-found"
    sentence = "The learner's live version knows no class of this label or name."


class KeyNotFoundError(NotFoundError):
    code = "key-not-found"
    sentence = "There is no API key with this id."
    key_id: str


class SubscriptionNotFoundError(NotFoundError):
    code = "subscription-not-found"
    sentence = "There is no subscription with this id."
    subscription_id: str


class DeliveryNotFoundError(NotFoundError):
    code = "delivery-not-found"
    sentence = "There is no message with this id: it may be too old to be kept."
    delivery_id: str


class InvalidKeyError(RegistryError):
    """A key that is to be created makes no sense."""

    code = "validation"

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field = field
        """Where in the request, as a path with slashes."""


class QuotaExceededError(SentenceError):
    code = "quota-exceeded"
    sentence = "A learner may have {self.max_classes} classes here: unlearn some, or create another learner."
    max_classes: int


class ConflictError(SentenceError):
    """The request contradicts the state of the registry."""

    code = "conflict"


class LearnerExistsError(ConflictError):
    code = "learner-exists"
    sentence = "A learner of this name exists already; choose another name or delete it."
    name: str


class LearnerBusyError(ConflictError):
    code = "learner-busy"
    sentence = "A task that this would disturb has not ended; cancel it or wait until it has."


class StaleHeadError(ConflictError):
    code = "stale-head"
    sentence = "The learner's head is version {self.head}, not {self.expected}; look at it again and repeat."
    expected: int
    head: int


class AliasMovedError(ConflictError):
    code = "alias-moved"
    sentence = "The alias {self.name} names version {self.version}, not {self.expected}; look again and repeat."
    name: str
    expected: int
    version: int


class LabelKnownError(ConflictError):
    code = "label-known"
    sentence = (
        "{self.n_labels} of the labels are known to this learner already, or a waiting task learns them; leave "
        'them out, or send them with the mode "extend", which learns only the images that are new.'
    )
    labels: list[str]

    @property
    def n_labels(self) -> int:
        """How many there are."""
        return len(self.labels)


class LabelConfusableError(ConflictError):
    code = "label-confusable"
    sentence = (
        "A label differs from another class of this learner only in case, width or form of its letters; use one "
        "spelling for one class."
    )
    label: str
    twin: str


class ClassNameTakenError(ConflictError):
    code = "label-known"
    sentence = (
        "Another class of this learner, or of a task that waits or was rolled back, has this label or name "
        "already; choose another one."
    )


class TaskEndedError(ConflictError):
    code = "task-ended"
    sentence = "The task has ended already: it is {self.status}."
    task_id: str
    status: str


class TaskNotRetryableError(ConflictError):
    code = "task-not-retryable"
    sentence = "Only a failed or cancelled task with images can be retried: {self.reason}."
    task_id: str
    reason: str


class ConsolidationOffError(ConflictError):
    code = "consolidation-off"
    sentence = "Nothing is consolidated in this installation: its operator has set FILOPODIA_CONSOLIDATE to never."


class NothingToConsolidateError(ConflictError):
    code = "nothing-to-consolidate"
    sentence = (
        "No task of this learner waits to be consolidated: its strategy trains as it learns, all is consolidated, or "
        "the images are gone."
    )


class TaskNotHeldError(ConflictError):
    code = "task-not-held"
    sentence = "Only a held task can be published by hand; this one is {self.status}."
    task_id: str
    status: str


class NothingLearnedError(ConflictError):
    code = "nothing-learned"
    sentence = "The learner has no version yet: post a task and wait for it."


class VersionErasedError(ConflictError):
    code = "version-erased"
    sentence = "Version {self.number} was erased, because it held what was unlearned since; choose another one."
    number: int


class TrainingImagesGoneError(ConflictError):
    code = "training-images-gone"
    sentence = (
        "This strategy takes out only what it sees again, and images of task {self.named_tasks} were "
        "deleted: move the head to a version from before that task, or learn afresh from the images that may stay."
    )
    tasks: list[int]

    @property
    def named_tasks(self) -> str:
        """Their indexes, as a list in words."""
        return ", ".join(map(str, self.tasks))


class SubscriptionDisabledError(ConflictError):
    code = "subscription-disabled"
    sentence = "Nothing is sent to this subscription: enable it first."
    subscription_id: str


class IdempotencyInProgressError(ConflictError):
    code = "idempotency-in-progress"
    sentence = "The first request with this Idempotency-Key is still running; repeat in a moment."


class IdempotencyKeyReusedError(SentenceError):
    code = "idempotency-key-reused"
    sentence = (
        "This Idempotency-Key was used with another body before; use a new key for a new request."
    )


class ImageNotKeptError(ConflictError):
    code = "image-not-kept"
    sentence = (
        "The image of this result was not kept, so nothing could learn from it: upload it with its label "
        "instead."
    )


class PredictionJobEndedError(ConflictError):
    code = "prediction-job-ended"
    sentence = "The job has ended already: it is {self.status}."
    status: str


class NothingToPredictError(ConflictError):
    code = "nothing-to-predict"
    sentence = "No stored image of this learner is what the job asks for."


class FeedbackTakenError(ConflictError):
    code = "feedback-taken"
    sentence = (
        "The task {self.task_id} has taken this feedback to learn from, so it cannot be changed any more; cancel "
        "the task if it has not ended."
    )
    task_id: str


class FeedbackChangedError(ConflictError):
    code = "feedback-changed"
    sentence = (
        "Feedback was changed or taken by another task while this request was checked; repeat it."
    )


class UnknownResultError(SentenceError):
    code = "validation"
    sentence = "The prediction has no result of this index, or its image was unusable."


class UnknownContentError(SentenceError):
    code = "unknown-content"
    sentence = (
        "The learner's head does not know all of these tasks and classes: they were never learned, are unlearned "
        "already or about to be, or wait to be learned. A waiting task can be cancelled."
    )
    tasks: Sequence[int]
    """Positions of the unknown ones among the tasks asked for."""
    classes: Sequence[int]
    """The same among the classes."""


class ImagesNotCorrectableError(SentenceError):
    code = "unknown-content"
    sentence = (
        "Some of the images are none that the learner's head has learned or is measured with: they were deleted or "
        "left out, belong to another learner, or wait to be learned."
    )
    images: Sequence[int]
    """Positions of these among the changes asked for."""


class NothingToCorrectError(ConflictError):
    code = "nothing-to-correct"
    sentence = (
        "There is nothing to correct: the images show these classes already, were changed again since, or that "
        "correction is none of the learner's head."
    )


class ClassWouldBeEmptyError(ConflictError):
    code = "class-would-be-empty"
    sentence = "{self.what} would be left without an image to learn from: leave one, or unlearn it instead."
    classes: Sequence[str]
    """Labels of the classes that would be; none where it is a task."""

    @property
    def what(self) -> str:
        """What would be, in words."""
        return f"The class {', '.join(self.classes)}" if self.classes else "A task"


class NothingWouldRemainError(SentenceError):
    code = "nothing-would-remain"
    sentence = (
        "Nothing that is learned would remain: delete the learner instead, and create it again."
    )


class InvalidCursorError(SentenceError):
    code = "invalid-cursor"
    sentence = "The cursor is not one of ours; use next_cursor of the page before, as it is."


class FencedError(SentenceError):
    code = "fenced"
    sentence = "Attempt {self.token} of {self.task_id} is no longer current."
    task_id: str
    token: int


class BlobError(SentenceError):
    """Base of the errors of the blob store."""

    code = "blob-error"


class BlobMissingError(BlobError):
    code = "blob-missing"
    sentence = "The blob {self.sha256} is missing from the blob store."
    sha256: str


class BlobDamagedError(BlobError):
    code = "blob-damaged"
    sentence = "The blob {self.sha256} is damaged: its bytes do not have this hash."
    sha256: str


class StorageFullError(BlobError):
    code = "insufficient-storage"
    sentence = "The service has too little free disk space to keep this; free some space."


class BlobStoreUnavailableError(SentenceError):
    code = "storage-unavailable"
    sentence = "The blob store does not answer right now; repeat the request in a moment."
    reason: str
    """What it said, for the operator."""


class BlobLocationError(RegistryError):
    """`BLOB_URL` names no store that can be opened."""

    code = "blob-location"


class BackupError(RegistryError):
    """A backup cannot be made, or not be restored."""

    code = "backup-failed"


class BackupIncompleteError(BackupError):
    """Blobs that the backup must hold are missing or damaged."""

    code = "backup-incomplete"

    def __init__(self, hashes: list[str]) -> None:
        super().__init__(
            f"{len(hashes)} stored files are missing or damaged ({', '.join(hashes[:3])}"
            f"{', ...' if len(hashes) > 3 else ''}): if images were just deleted, repeat the backup; "
            "else look with filopodia doctor, and keep what there is with --incomplete."
        )
        self.hashes = hashes


class BackupDamagedError(BackupError):
    """The file is not, or no longer, a backup of ours."""

    code = "backup-damaged"


class RestoreRefusedError(BackupError):
    """The installation is in use, or not empty."""

    code = "restore-refused"


class BundleRejectedError(RegistryError):
    """The file is not, or no longer, a bundle of ours."""

    code = "archive-rejected"


class DatabaseUnavailableError(SentenceError):
    code = "storage-unavailable"
    sentence = "The database does not answer right now; repeat the request in a moment."


class SchemaTooNewError(SentenceError):
    code = "schema-too-new"
    sentence = (
        "The database's schema has revision {self.revision}, which this release does not know: use the release "
        "that it was migrated by, or a later one."
    )
    revision: str


class SettingsError(RegistryError):
    """A setting in the environment is wrong: the message names each by its variable and what it may be."""

    code = "settings"


class DataDirUnusableError(RegistryError):
    """The data directory cannot be made, or nothing can be written to it."""

    code = "data-dir-unusable"


class EmbeddedDatabaseError(RegistryError):
    """The embedded PostgreSQL cannot be started."""

    code = "embedded-database"


class DataDirBusyError(EmbeddedDatabaseError):
    """Another service uses the data directory."""

    code = "data-dir-busy"
