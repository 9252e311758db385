"""Cleaning of text that comes from outside: labels, names of files and tasks."""

import unicodedata
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from registry.classes import look
from service.characters import describe, is_readable, spell_out, unfit
from service.problems import FieldError, Problem

MAX_LABEL = 128
MAX_FILENAME = 255
_NO_ADDRESS = frozenset({".", ".."})
"""Labels that vanish from an address, so that a class of such a name could not be asked for."""


def clean_label(text: str) -> str:
    """Return a label in Unicode normal form C without spaces around it.

    Raises:
        Problem: `label-invalid` or `label-too-long`, with what is wrong and where.
    """
    label = _bounded(text)
    if label in _NO_ADDRESS:
        raise Problem(
            "label-invalid",
            f"No class can be called {label}, which means a folder in every address: choose another label.",
        )
    if (at := next(unfit(label), None)) is not None:
        raise Problem(
            "label-invalid",
            f"The label holds {describe(label[at])} as its character {at + 1}, which nobody can see: leave it out.",
        )
    if not look(label):
        raise Problem("label-invalid", "The label is empty, or holds nothing that can be seen.")
    return label


def label_at(text: str, pointer: str, filename: str | None = None) -> str:
    """Return a label as `clean_label` does; a refusal names where the label stands, and the file it came with.

    Args:
        text: The label as it was sent.
        pointer: JSON pointer of where it stands in the request.
        filename: Of the image, cleaned.

    Raises:
        Problem: `label-invalid` or `label-too-long`.
    """
    try:
        return clean_label(text)
    except Problem as problem:
        named = {} if filename is None else {"filename": filename}
        extra = {"label": spell_out(text[:MAX_LABEL]), **named}
        error = FieldError(pointer, problem.detail, problem.code, extra)
        raise Problem(problem.code, problem.detail, errors=(error,)) from problem


def is_printable(text: str) -> bool:
    """Return whether the text holds no control, invisible, surrogate, private or unassigned character."""
    return next(unfit(text), None) is None


def clean_filename(name: str | None) -> str | None:
    """Return the last part of a file's name, for display only; None when nothing usable is left."""
    if not name:
        return None
    last = unicodedata.normalize("NFC", name.replace("\\", "/").rsplit("/", 1)[-1])
    refused = set(unfit(last))
    kept = "".join(c for i, c in enumerate(last) if i not in refused)
    return kept.strip()[:MAX_FILENAME] or None


def _bounded(text: str) -> str:
    if len(text) > 8 * MAX_LABEL:
        raise Problem("label-too-long")
    label = unicodedata.normalize("NFC", text).strip(" \u00a0\u3000")
    if len(label) > MAX_LABEL:
        raise Problem("label-too-long")
    return label


def _known_label(text: str) -> str:
    label = _bounded(text)
    if not label or not all(map(is_readable, label)):
        raise Problem("label-invalid")
    return label


def _label_field(text: str) -> str:
    try:
        return clean_label(text)
    except Problem as problem:
        raise PydanticCustomError("label", "{detail}", {"detail": problem.detail}) from problem


def _known_label_field(text: str) -> str:
    try:
        return _known_label(text)
    except Problem as problem:
        raise PydanticCustomError("label", "{detail}", {"detail": problem.detail}) from problem


def _text_field(text: str) -> str:
    cleaned = unicodedata.normalize("NFC", text).strip()
    if not cleaned or not is_printable(cleaned):
        raise PydanticCustomError(
            "text", "The text is empty or holds control or invisible characters."
        )
    return cleaned


_LabelText = Field(min_length=1, max_length=8 * MAX_LABEL)
Label = Annotated[str, _LabelText, AfterValidator(_label_field)]
"""A class label in a JSON body."""
KnownLabel = Annotated[str, _LabelText, AfterValidator(_known_label_field)]
"""A label or name of a class that is there already: also one that no class would be given any more."""
ShortText = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_text_field)]
"""A name a person gives: one line, up to 200 characters."""
