"""Errors of the registry.

    RegistryError
    ├── NotFoundError
    │   ├── LearnerNotFoundError, TaskNotFoundError, VersionNotFoundError
    │   ├── SampleNotFoundError, PredictionNotFoundError, KeyNotFoundError
    │   └── PredictionImageNotFoundError, FeedbackNotFoundError, ClassNotFoundError
    ├── ConflictError                  the request contradicts the state of the registry
    │   ├── LearnerExistsError         the name is taken
    │   ├── LearnerBusyError           a task that the request would disturb has not ended
    │   ├── StaleHeadError             the learner has moved on since the caller looked
    │   ├── AliasMovedError            the alias names another version than the caller expects
    │   ├── LabelKnownError            a new class is known already
    │   ├── LabelConfusableError       a label looks like another one
    │   ├── ClassNameTakenError        another class has the label or name already
    │   ├── TaskEndedError             the task has ended: nothing to cancel
    │   ├── TaskNotRetryableError      only failed and cancelled tasks can be retried
    │   ├── TaskNotHeldError           only held tasks can be published by hand
    │   ├── NothingLearnedError        there is no version yet
    │   ├── VersionErasedError         the version's artifact was given up by an unlearning
    │   ├── TrainingImagesGoneError    images that unlearning needs were deleted
    │   ├── ImageNotKeptError          the image of a stored prediction is not stored
    │   ├── FeedbackTakenError         a task has taken the feedback: it is past changing
    │   ├── FeedbackChangedError       feedback that a task was to take is not what it was
    │   └── IdempotencyInProgressError the first request with this key still runs
    ├── InvalidKeyError                a key that is to be created makes no sense
    ├── QuotaExceededError             the learner would have more classes than one may have
    ├── IdempotencyKeyReusedError      the key came with another body before
    ├── UnknownResultError             feedback on an image that has no answer
    ├── UnknownContentError            asked to unlearn what the learner does not know
    ├── NothingWouldRemainError        asked to unlearn everything
    ├── InvalidCursorError             a page cursor is not one we made
    ├── FencedError                    the worker's token is no longer current: its writes are refused
    ├── BlobError
    │   ├── BlobMissingError, BlobDamagedError
    │   └── StorageFullError           the disk is full, or below the floor kept free
    ├── BlobStoreUnavailableError      the blob store does not answer; try again later
    ├── BlobLocationError              BLOB_URL names no store that can be opened
    ├── BackupError                    a backup cannot be made, or not be restored
    │   ├── BackupIncompleteError      blobs are missing or damaged
    │   ├── BackupDamagedError         the file is not, or no longer, a backup of ours
    │   └── RestoreRefusedError        the installation is in use, or not empty
    ├── BundleRejectedError            a file is not, or no longer, a bundle of ours
    ├── DatabaseUnavailableError       the database does not answer; try again later
    ├── SchemaTooNewError              the database was migrated by a later release
    ├── SettingsError                  a setting in the environment is wrong
    ├── DataDirUnusableError           the data directory cannot be made or written to
    └── EmbeddedDatabaseError          the embedded PostgreSQL cannot be started
        └── DataDirBusyError           another service uses the data directory

Each carries one full sentence a user can act on, and a `code`: the slug clients see. They know no HTTP.
"""

from collections.abc import Sequence
from typing import ClassVar


class RegistryError(Exception):
    """Base of all errors of the registry."""

    code: ClassVar[str] = "registry-error"


class NotFoundError(RegistryError):
    """Something asked for does not exist."""

    code = "not-found"


class LearnerNotFoundError(NotFoundError):
    """No learner has this name or id."""

    code = "learner-not-found"

    def __init__(self, learner: str) -> None:
        super().__init__("There is no learner of this name; create it with POST /v1/learners.")
        self.learner = learner


class TaskNotFoundError(NotFoundError):
    """No task has this id."""

    code = "task-not-found"

    def __init__(self, task_id: str) -> None:
        super().__init__("There is no task with this id.")
        self.task_id = task_id


class VersionNotFoundError(NotFoundError):
    """The learner has no version of this number."""

    code = "version-not-found"

    def __init__(self, learner_id: str, number: int) -> None:
        super().__init__(f"This learner has no version {number}.")
        self.learner_id = learner_id
        self.number = number


class PredictionImageNotFoundError(NotFoundError):
    """No image of this index is kept of the prediction."""

    code = "prediction-image-not-found"

    def __init__(self) -> None:
        super().__init__("No image of this index is kept of this prediction.")


class FeedbackNotFoundError(NotFoundError):
    """There is no feedback on this image."""

    code = "feedback-not-found"

    def __init__(self) -> None:
        super().__init__("There is no feedback on this image.")


class SampleNotFoundError(NotFoundError):
    """No sample has this id, or its image was deleted."""

    code = "sample-not-found"

    def __init__(self, sample_id: str) -> None:
        super().__init__("There is no sample with this id, or its image was deleted.")
        self.sample_id = sample_id


class PredictionNotFoundError(NotFoundError):
    """No stored prediction has this id."""

    code = "prediction-not-found"

    def __init__(self, prediction_id: str) -> None:
        super().__init__("There is no stored prediction with this id.")
        self.prediction_id = prediction_id


class ClassNotFoundError(NotFoundError):
    """The learner's live version knows no class of this label or name."""

    code = "class-not-found"

    def __init__(self) -> None:
        super().__init__("The learner's live version knows no class of this label or name.")


class KeyNotFoundError(NotFoundError):
    """No API key has this id."""

    code = "key-not-found"

    def __init__(self, key_id: str) -> None:
        super().__init__("There is no API key with this id.")
        self.key_id = key_id


class InvalidKeyError(RegistryError):
    """A key that is to be created makes no sense."""

    code = "validation"

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field = field
        """Where in the request, as a path with slashes."""


class QuotaExceededError(RegistryError):
    """A total that the installation sets would be passed."""

    code = "quota-exceeded"

    def __init__(self, max_classes: int) -> None:
        super().__init__(
            f"A learner may have {max_classes} classes here: unlearn some, or create another learner."
        )
        self.max_classes = max_classes


class ConflictError(RegistryError):
    """The request contradicts the state of the registry."""

    code = "conflict"


class LearnerExistsError(ConflictError):
    """The learner's name is taken."""

    code = "learner-exists"

    def __init__(self, name: str) -> None:
        super().__init__("A learner of this name exists already; choose another name or delete it.")
        self.name = name


class LearnerBusyError(ConflictError):
    """A task that the request would disturb has not ended."""

    code = "learner-busy"

    def __init__(self) -> None:
        super().__init__(
            "A task that this would disturb has not ended; cancel it or wait until it has."
        )


class StaleHeadError(ConflictError):
    """The learner has moved on since the caller looked."""

    code = "stale-head"

    def __init__(self, expected: int, head: int) -> None:
        super().__init__(
            f"The learner's head is version {head}, not {expected}; look at it again and repeat."
        )
        self.expected = expected
        self.head = head


class AliasMovedError(ConflictError):
    """The alias names another version than the caller expects."""

    code = "alias-moved"

    def __init__(self, name: str, expected: int, version: int) -> None:
        super().__init__(
            f"The alias {name} names version {version}, not {expected}; look again and repeat."
        )
        self.name = name
        self.expected = expected
        self.version = version


class LabelKnownError(ConflictError):
    """A task of mode `new_classes` brings a class that the learner knows, or is about to learn."""

    code = "label-known"

    def __init__(self, labels: list[str]) -> None:
        super().__init__(
            f"{len(labels)} of the labels are known to this learner already, or a waiting task learns "
            'them; leave them out, or send them with the mode "extend", which learns only the images that are new.'
        )
        self.labels = labels


class LabelConfusableError(ConflictError):
    """A label differs from another one only in case, width or compatibility form."""

    code = "label-confusable"

    def __init__(self, label: str, twin: str) -> None:
        super().__init__(
            "A label differs from another class of this learner only in case, width or form of its "
            "letters; use one spelling for one class."
        )
        self.label = label
        self.twin = twin


class ClassNameTakenError(ConflictError):
    """Another class of the learner has the label or name already."""

    code = "label-known"

    def __init__(self) -> None:
        super().__init__(
            "Another class of this learner, or of a task that waits or was rolled back, has this label or name "
            "already; choose another one."
        )


class TaskEndedError(ConflictError):
    """The task has ended: nothing to cancel."""

    code = "task-ended"

    def __init__(self, task_id: str, status: str) -> None:
        super().__init__(f"The task has ended already: it is {status}.")
        self.task_id = task_id
        self.status = status


class TaskNotRetryableError(ConflictError):
    """Only failed and cancelled tasks can be retried."""

    code = "task-not-retryable"

    def __init__(self, task_id: str, reason: str) -> None:
        super().__init__(f"Only a failed or cancelled task with images can be retried: {reason}.")
        self.task_id = task_id


class TaskNotHeldError(ConflictError):
    """Only held tasks can be published by hand."""

    code = "task-not-held"

    def __init__(self, task_id: str, status: str) -> None:
        super().__init__(f"Only a held task can be published by hand; this one is {status}.")
        self.task_id = task_id
        self.status = status


class NothingLearnedError(ConflictError):
    """The learner has no version yet."""

    code = "nothing-learned"

    def __init__(self) -> None:
        super().__init__("The learner has no version yet: post a task and wait for it.")


class VersionErasedError(ConflictError):
    """The version's artifact was given up, because it held what was unlearned since."""

    code = "version-erased"

    def __init__(self, number: int) -> None:
        super().__init__(
            f"Version {number} was erased, because it held what was unlearned since; choose another one."
        )
        self.number = number


class TrainingImagesGoneError(ConflictError):
    """Images that unlearning needs were deleted."""

    code = "training-images-gone"

    def __init__(self, tasks: list[int]) -> None:
        super().__init__(
            f"This strategy takes out only what it sees again, and images of task {', '.join(map(str, tasks))} were "
            "deleted: move the head to a version from before that task, or learn afresh from the images that may stay."
        )
        self.tasks = tasks


class IdempotencyInProgressError(ConflictError):
    """The first request with this Idempotency-Key still runs."""

    code = "idempotency-in-progress"

    def __init__(self) -> None:
        super().__init__(
            "The first request with this Idempotency-Key is still running; repeat in a moment."
        )


class IdempotencyKeyReusedError(RegistryError):
    """The Idempotency-Key came with another body before."""

    code = "idempotency-key-reused"

    def __init__(self) -> None:
        super().__init__(
            "This Idempotency-Key was used with another body before; use a new key for a new request."
        )


class ImageNotKeptError(ConflictError):
    """The image of a stored prediction is not stored, so nothing can learn from it."""

    code = "image-not-kept"

    def __init__(self) -> None:
        super().__init__(
            "The image of this result was not kept, so nothing could learn from it: upload it with its label instead."
        )


class FeedbackTakenError(ConflictError):
    """A task has taken the feedback."""

    code = "feedback-taken"

    def __init__(self, task_id: str) -> None:
        super().__init__(
            f"The task {task_id} has taken this feedback to learn from, so it cannot be changed any more; cancel the "
            "task if it has not ended."
        )
        self.task_id = task_id


class FeedbackChangedError(ConflictError):
    """Feedback that a task was to take was changed, withdrawn or taken by another one meanwhile."""

    code = "feedback-changed"

    def __init__(self) -> None:
        super().__init__(
            "Feedback was changed or taken by another task while this request was checked; repeat it."
        )


class UnknownResultError(RegistryError):
    """The prediction has no answer of this index."""

    code = "validation"

    def __init__(self) -> None:
        super().__init__("The prediction has no result of this index, or its image was unusable.")


class UnknownContentError(RegistryError):
    """Asked to unlearn tasks or classes that the learner does not know."""

    code = "unknown-content"

    def __init__(self, tasks: Sequence[int], classes: Sequence[int]) -> None:
        super().__init__(
            "The learner's head does not know all of these tasks and classes: they were never learned, are unlearned "
            "already or about to be, or wait to be learned. A waiting task can be cancelled."
        )
        self.tasks = tasks
        """Positions of the unknown ones among the tasks asked for."""
        self.classes = classes
        """The same among the classes."""


class NothingWouldRemainError(RegistryError):
    """Asked to unlearn everything that the learner knows."""

    code = "nothing-would-remain"

    def __init__(self) -> None:
        super().__init__(
            "Nothing that is learned would remain: delete the learner instead, and create it again."
        )


class InvalidCursorError(RegistryError):
    """A page cursor is not one we made."""

    code = "invalid-cursor"

    def __init__(self) -> None:
        super().__init__(
            "The cursor is not one of ours; use next_cursor of the page before, as it is."
        )


class FencedError(RegistryError):
    """The worker's token is no longer current: the task was taken over, cancelled or has ended."""

    code = "fenced"

    def __init__(self, task_id: str, token: int) -> None:
        super().__init__(f"Attempt {token} of task {task_id} is no longer current.")
        self.task_id = task_id
        self.token = token


class BlobError(RegistryError):
    """Base of the errors of the blob store."""

    code = "blob-error"


class BlobMissingError(BlobError):
    """The blob store has no blob of this hash."""

    code = "blob-missing"

    def __init__(self, sha256: str) -> None:
        super().__init__(f"The blob {sha256} is missing from the blob store.")
        self.sha256 = sha256


class BlobDamagedError(BlobError):
    """The bytes of a blob do not have its hash."""

    code = "blob-damaged"

    def __init__(self, sha256: str) -> None:
        super().__init__(f"The blob {sha256} is damaged: its bytes do not have this hash.")
        self.sha256 = sha256


class StorageFullError(BlobError):
    """The disk is full, or below the floor that is kept free."""

    code = "insufficient-storage"

    def __init__(self) -> None:
        super().__init__(
            "The service has too little free disk space to keep this; free some space."
        )


class BlobStoreUnavailableError(RegistryError):
    """The blob store does not answer, refuses us, or its disk fails."""

    code = "storage-unavailable"

    def __init__(self, reason: str) -> None:
        super().__init__(
            "The blob store does not answer right now; repeat the request in a moment."
        )
        self.reason = reason
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


class DatabaseUnavailableError(RegistryError):
    """The database does not answer, refused a connection, or took too long."""

    code = "storage-unavailable"

    def __init__(self) -> None:
        super().__init__("The database does not answer right now; repeat the request in a moment.")


class SchemaTooNewError(RegistryError):
    """The database was migrated by a later release."""

    code = "schema-too-new"

    def __init__(self, revision: str) -> None:
        super().__init__(
            f"The database's schema has revision {revision}, which this release does not know: use the release that "
            "it was migrated by, or a later one."
        )
        self.revision = revision


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
