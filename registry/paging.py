"""Pages by keyset: an opaque cursor names the last row of the page before."""

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from registry.errors import InvalidCursorError

ItemT = TypeVar("ItemT")


@dataclass(frozen=True)
class Page(Generic[ItemT]):
    """Some items, and the cursor of the next page; None on the last."""

    items: list[ItemT]
    next_cursor: str | None


def encode_cursor(*values: str) -> str:
    """Pack the sort key of a page's last row."""
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


def decode_cursor(cursor: str, length: int) -> list[str]:
    """Unpack a sort key of `length` values.

    Raises:
        InvalidCursorError: If it is not one that `encode_cursor` made.
    """
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        values: Any = json.loads(raw)
    except (binascii.Error, ValueError, RecursionError) as error:
        raise InvalidCursorError from error
    if not isinstance(values, list) or len(values) != length:
        raise InvalidCursorError
    if not all(isinstance(value, str) and value.isprintable() and value for value in values):
        raise InvalidCursorError
    return values


def decode_number(cursor: str) -> int:
    """Unpack a sort key that is one number of up to nine digits.

    Raises:
        InvalidCursorError: If it is not one that `encode_cursor` made.
    """
    (value,) = decode_cursor(cursor, 1)
    if not (value.isascii() and value.isdigit() and len(value) < 10):
        raise InvalidCursorError
    return int(value)


def page_of(
    rows: Sequence[ItemT], limit: int, key: Callable[[ItemT], tuple[str, ...]]
) -> Page[ItemT]:
    """Make a page of up to `limit` items from rows read with `LIMIT limit + 1`."""
    items = list(rows[:limit])
    more = len(rows) > limit
    return Page(items, encode_cursor(*key(items[-1])) if more else None)
