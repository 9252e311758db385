"""Turning Pydantic's findings into `errors[]` without echoing what was sent."""

from collections.abc import Iterable, Mapping
from typing import Any

from service.problems import FieldError
from service.schemas.base import LEARNER_NAME, PUBLIC_ID
from service.strict_json import safe_token

MAX_ERRORS = 50
_OWN_SENTENCES = frozenset({"label", "text", "metadata_too_large"})
"""Types whose message is a sentence of ours."""
_SENTENCES = {
    "missing": "This field is missing.",
    "extra_forbidden": "This field is not known.",
    "string_too_long": "The text is too long.",
    "string_too_short": "The text is too short.",
    "string_pattern_mismatch": "The text does not have the form required.",
    "string_type": "This must be a string.",
    "int_type": "This must be an integer.",
    "int_parsing": "This must be an integer.",
    "int_parsing_size": "The number is too large.",
    "int_from_float": "This must be an integer.",
    "float_type": "This must be a number.",
    "float_parsing": "This must be a number.",
    "finite_number": "The number must be finite.",
    "bool_parsing": "This must be true or false.",
    "bool_type": "This must be true or false.",
    "dict_type": "This must be a JSON object.",
    "model_type": "This must be a JSON object.",
    "model_attributes_type": "This must be a JSON object.",
    "list_type": "This must be a list.",
    "too_long": "There are too many entries.",
    "too_short": "There are too few entries.",
    "greater_than_equal": "The number is too small.",
    "greater_than": "The number is too small.",
    "less_than_equal": "The number is too large.",
    "less_than": "The number is too large.",
    "literal_error": "This is none of the allowed values.",
    "datetime_parsing": "This must be a time, for example 2026-01-31T12:00:00Z.",
    "datetime_from_date_parsing": "This must be a time, for example 2026-01-31T12:00:00Z.",
}

_FORMS = {
    LEARNER_NAME: (
        "A learner's name has 1 to 63 characters, each a lower-case letter, a digit or a hyphen, and begins with no "
        "hyphen: [a-z0-9][a-z0-9-]{0,62}."
    ),
    PUBLIC_ID: "An id is three letters, _ and 8 to 40 digits and lower-case letters, such as tsk_06gzprw7k1wn602j.",
}
"""What the text should be, by the pattern that it does not match."""


def field_errors(findings: Iterable[Mapping[str, Any]], prefix: str) -> tuple[FieldError, ...]:
    """Return one entry for each finding, at most `MAX_ERRORS`.

    Args:
        findings: What `errors()` of a Pydantic or FastAPI validation error returns.
        prefix: JSON pointer of what was validated.
    """
    entries: list[FieldError] = []
    for finding in findings:
        if len(entries) == MAX_ERRORS:
            break
        location = "".join(f"/{safe_token(part)}" for part in finding["loc"])
        entries.append(FieldError(prefix + location, _sentence(finding)))
    return tuple(entries)


def _sentence(finding: Mapping[str, Any]) -> str:
    kind = str(finding["type"])
    if kind in _OWN_SENTENCES:
        return str(finding["msg"])
    if kind == "string_pattern_mismatch":
        pattern = finding.get("ctx", {}).get("pattern")
        return _FORMS.get(pattern, _SENTENCES[kind])
    return _SENTENCES.get(kind, "This value is not valid.")
