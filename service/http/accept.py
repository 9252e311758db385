"""`Accept`: whether what an address has to say is of a kind that the client takes (RFC 9110, section 12.5.1).

A header that says nothing, or nothing that can be understood, excludes nothing. Parameters other than `q` are not
looked at: no address has two forms of one media type.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress

from service.problems import Problem

MAX_RANGES = 100
"""Entries of the header that are looked at."""


def choose(header: str, offered: Sequence[str]) -> str | None:
    """Return the offered media type that the client likes best, the first of equals; None if it takes none of them.

    Example:
        >>> choose("text/*;q=0.5, application/json", ["text/csv", "application/json"])
        'application/json'
        >>> choose("*/*, application/json;q=0", ["application/json"]) is None
        True
    """
    ranges = _parse(header)
    if not ranges:
        return offered[0]
    best = max(offered, key=lambda media_type: _quality(media_type, ranges))
    return best if _quality(best, ranges) > 0 else None


def require(header: str, offered: Sequence[str]) -> None:
    """Refuse a request whose client takes nothing of what is offered.

    Raises:
        Problem: `not-acceptable`.
    """
    if offered and choose(header, offered) is None:
        raise Problem("not-acceptable", f"This address answers {' or '.join(offered)}.")


def _parse(header: str) -> dict[str, float]:
    """Return the qualities by media range, as far as they can be understood."""
    ranges: dict[str, float] = {}
    for entry in header.split(",")[:MAX_RANGES]:
        media_range, *parameters = (part.strip().lower() for part in entry.split(";"))
        kind, slash, subtype = media_range.partition("/")
        is_range = slash and kind and subtype and (kind != "*" or subtype == "*")
        quality = _quality_of(parameters)
        if is_range and quality is not None:
            ranges[media_range] = max(quality, ranges.get(media_range, 0.0))
    return ranges


def _quality_of(parameters: Iterable[str]) -> float | None:
    """Return the value of `q`, 1 if there is none; None for one that is no quality."""
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            with suppress(ValueError):
                quality = float(value)
                return quality if 0 <= quality <= 1 else None
            return None
    return 1.0


def _quality(media_type: str, ranges: dict[str, float]) -> float:
    """Return the quality that the most specific range gives a media type; 0 if none holds it."""
    kind = media_type.partition("/")[0]
    for media_range in (media_type, f"{kind}/*", "*/*"):
        if media_range in ranges:
            return ranges[media_range]
    return 0.0
