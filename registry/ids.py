"""Row ids: a prefix that tells the kind, and a time-sortable random part."""

import secrets
import time

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32, lower case: sorts like the number it writes."""
TIME_BITS, RANDOM_BITS, LENGTH = 48, 82, 26


def new_id(prefix: str) -> str:
    """Return `<prefix>_` and 26 characters: milliseconds since 1970, then 82 random bits.

    Ids of one kind sort by the time they were made, to the millisecond; within one they are in no order.
    """
    milliseconds = time.time_ns() // 1_000_000 % (1 << TIME_BITS)
    number = (milliseconds << RANDOM_BITS) | secrets.randbits(RANDOM_BITS)
    letters = [ALPHABET[(number >> shift) & 31] for shift in range(5 * (LENGTH - 1), -1, -5)]
    return f"{prefix}_{''.join(letters)}"
