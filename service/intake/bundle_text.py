"""The texts of a bundle: what their releases let in, and nothing that hides or turns around what a reader sees.

Labels have been cleaned by rules that have changed since: earlier releases took emoji that end in a joiner, and
variation selectors anywhere. Bundles with such labels are read. What no release took is refused, wherever it stands.
"""

import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any

from service.characters import describe, is_hidden, unfit
from service.problems import Problem

_JOINER = "\u200d"
_ONCE_JOINED = frozenset("\u200d\ufe0f")


def require_readable(value: Any, name: str) -> None:
    """Check all texts in a document, keys included.

    Args:
        value: What was parsed.
        name: Of the document, for the message.

    Raises:
        Problem: `artifact-invalid`, with the character.
    """
    for text in _texts(value):
        hidden = next(_hidden(text), None)
        if hidden is not None:
            raise _invalid(
                f"A text in {name} of the bundle holds {describe(hidden)}, which is never shown."
            )


def require_told_apart(labels: Iterable[str]) -> None:
    """Check that no two classes look the same, by the rules under which all releases have taken labels.

    Raises:
        Problem: `artifact-invalid`.
    """
    looks = [_look(label) for label in dict.fromkeys(labels)]
    if len(set(looks)) < len(looks):
        raise _invalid("Two classes of the bundle have labels that look the same.")


def _texts(value: Any) -> Iterator[str]:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            waiting.extend(item)
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)


def _hidden(text: str) -> Iterator[str]:
    """Yield the characters that no release took."""
    if text.isprintable():
        return
    for i in unfit(text):
        if is_hidden(text[i]) and not _was_joined(text, i):
            yield text[i]


def _was_joined(text: str, i: int) -> bool:
    before = text[i - 1 : i]
    is_symbol = bool(before) and unicodedata.category(before) in ("So", "Sk")
    return text[i] == _JOINER and (before in _ONCE_JOINED or is_symbol)


def _look(label: str) -> str:
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", label).casefold())
    return "".join(c for i, c in enumerate(folded) if not _is_unseen(folded, i))


def _is_unseen(text: str, i: int) -> bool:
    is_tag = "\U000e0020" <= text[i] <= "\U000e007f"
    return unicodedata.category(text[i]) == "Cf" and not is_tag and not _was_joined(text, i)


def _invalid(detail: str) -> Problem:
    return Problem("artifact-invalid", detail)
