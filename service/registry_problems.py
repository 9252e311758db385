"""What an error of the registry is towards a client: one table, for the API and for pages."""

from registry.errors import LabelConfusableError, LabelKnownError, RegistryError
from service.problems import PROBLEMS, FieldError, Problem

MAX_NAMED = 100
"""Most labels that one problem names."""
_RENAMED = {"alias-moved": "precondition-failed", "blob-missing": "version-damaged"}
"""Registry codes whose meaning towards a client has another name."""


def problem_of(error: RegistryError) -> Problem | None:
    """Return the problem that an error of the registry is, or None if nobody was meant to see it."""
    code = _RENAMED.get(error.code, error.code)
    if code not in PROBLEMS:
        return None
    # A blob's hash is nobody's business: only our own sentences about rows go out.
    detail = None if code in ("version-damaged", "blob-damaged") else str(error)
    return Problem(code, detail, errors=_labels(error))


def _labels(error: RegistryError) -> tuple[FieldError, ...]:
    """Return which of the labels that were sent an error is about."""
    if isinstance(error, LabelKnownError):
        return tuple(
            FieldError("/classes", "The label is known already.", extra={"label": label})
            for label in error.labels[:MAX_NAMED]
        )
    if isinstance(error, LabelConfusableError):
        detail = f"The label looks like {error.twin}."
        return (FieldError("/classes", detail, extra={"label": error.label}),)
    return ()
