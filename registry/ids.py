"""Row ids: a prefix that tells the kind, and a time-sortable random part."""

import secrets
import time
from threading import Lock

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32, lower case: sorts like the number it writes."""
TIME_BITS, RANDOM_BITS, LENGTH = 48, 82, 26

_lock = Lock()
_last = 0


def new_id(prefix: str) -> str:
    """Return `<prefix>_` and 26 characters: milliseconds since 1970, then 82 random bits.

    Ids sort by the time they were made: within one process always, between processes to the millisecond. So those made
    within one millisecond may be guessed from one another: an id is no secret.
    """
    global _last
    milliseconds = time.time_ns() // 1_000_000 % (1 << TIME_BITS)
    number = (milliseconds << RANDOM_BITS) | secrets.randbits(RANDOM_BITS)
    with _lock:
        number = _last = max(number, _last + 1)
    letters = [ALPHABET[(number >> shift) & 31] for shift in range(5 * (LENGTH - 1), -1, -5)]
    return f"{prefix}_{''.join(letters)}"
