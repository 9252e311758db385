"""Errors of the learning core.

    LearnerError
    ├── ConfigError, BackboneError, ShapeError, NotLearnedError, TaskDataError
    ├── DivergedError, StoppedError, CheckpointError, ExportError
    ├── UnlearningError      UnknownContentError, MissingImagesError
    └── CorrectionError

They carry one full sentence a user can act on, and know neither HTTP nor the database.
"""


class LearnerError(Exception):
    """Base of all errors of the learning core."""


class ConfigError(LearnerError, ValueError):
    """A hyperparameter is out of range."""


class BackboneError(LearnerError):
    """A backbone is unknown, or its weights are missing or unusable."""


class ShapeError(LearnerError, ValueError):
    """A tensor has the wrong shape."""


class NotLearnedError(LearnerError):
    """Asked to predict before anything was learned."""


class TaskDataError(LearnerError):
    """A task cannot be learned: no image, or labels that contradict its mode."""


class DivergedError(LearnerError):
    """The loss became NaN or infinite."""


class StoppedError(LearnerError):
    """Learning was asked to stop, and has."""


class CheckpointError(LearnerError):
    """An artifact or checkpoint is damaged, of another format, or of something else."""


class ExportError(LearnerError):
    """What was learned cannot be written as a graph."""


class UnlearningError(LearnerError):
    """A task or class cannot be taken out of what was learned."""


class UnknownContentError(UnlearningError):
    """Asked to unlearn what was never learned, or nothing at all."""


class MissingImagesError(UnlearningError):
    """The training images to take out are needed, and not all of them are given."""


class CorrectionError(LearnerError):
    """Images cannot be given other labels, or be taken out, in what was learned."""
