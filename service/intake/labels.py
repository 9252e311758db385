"""Cleaning of text that comes from outside: labels, names of files and tasks."""

import unicodedata
from itertools import pairwise
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from service.http.problems import Problem

MAX_LABEL = 128
MAX_FILENAME = 255
_REFUSED = frozenset({"Cc", "Cs", "Cf", "Co", "Cn", "Zl", "Zp"})
_JOINERS = frozenset("\u200d\ufe0f")
"""Zero-width joiner and emoji presentation: invisible, so welcome inside emoji only."""
_SYMBOLS = frozenset({"So", "Sk"})


def clean_label(text: str) -> str:
    """Return a label in Unicode normal form C without spaces around it.

    Raises:
        Problem: `label-invalid` or `label-too-long`.
    """
    if len(text) > 8 * MAX_LABEL:
        raise Problem("label-too-long")
    label = unicodedata.normalize("NFC", text).strip(" \u00a0\u3000")
    if len(label) > MAX_LABEL:
        raise Problem("label-too-long")
    if not label or not is_printable(label):
        raise Problem("label-invalid")
    return label


def is_printable(text: str) -> bool:
    """Return whether the text holds no control, invisible, surrogate, private or unassigned character."""
    return all(_is_fine(before, character) for before, character in pairwise(" " + text))


def _is_fine(before: str, character: str) -> bool:
    if character in _JOINERS:
        return before in _JOINERS or unicodedata.category(before) in _SYMBOLS
    return unicodedata.category(character) not in _REFUSED


def clean_filename(name: str | None) -> str | None:
    """Return the last part of a file's name, for display only; None when nothing usable is left."""
    if not name:
        return None
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    kept = "".join(c for c in unicodedata.normalize("NFC", last) if is_printable(c))
    return kept.strip()[:MAX_FILENAME] or None


def _label_field(text: str) -> str:
    try:
        return clean_label(text)
    except Problem as problem:
        raise PydanticCustomError("label", "{detail}", {"detail": problem.detail}) from problem


def _text_field(text: str) -> str:
    cleaned = unicodedata.normalize("NFC", text).strip()
    if not cleaned or not is_printable(cleaned):
        raise PydanticCustomError(
            "text", "The text is empty or holds control or invisible characters."
        )
    return cleaned


Label = Annotated[str, Field(min_length=1, max_length=8 * MAX_LABEL), AfterValidator(_label_field)]
"""A class label in a JSON body."""
ShortText = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_text_field)]
"""A name a person gives: one line, up to 200 characters."""
