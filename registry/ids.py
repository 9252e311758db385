"""Row ids: a prefix that tells the kind, and a time-sortable random part."""

import math
import os
import time
from random import Random
from threading import Lock

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32, lower case: sorts like the number it writes."""
TIME_BITS, RANDOM_BITS, LENGTH = 48, 82, 26
_PAIRS = [first + second for first in ALPHABET for second in ALPHABET]
"""What ten bits write."""

_lock = Lock()
_last = 0
_random = Random()
"""Seeded by the system, here and in every process that is forked from this one. Asking the system for each id would let
go of the interpreter in the event loop, and wait for it."""
os.register_at_fork(after_in_child=_random.seed)


def made_at_s(row_id: str) -> float:
    """Return when an id was made, in seconds since 1970 by the clock of whoever made it; never for what is none.

    Example:
        >>> made_at_s("prd_059g0q70000000000000000000"), made_at_s("prd_0000000000"), made_at_s("prd_1")
        (1456000000.0, -inf, -inf)
    """
    letters = row_id.rpartition("_")[2]
    if len(letters) != LENGTH or not set(letters) <= set(ALPHABET):
        return -math.inf
    number = 0
    for letter in letters:
        number = number << 5 | ALPHABET.index(letter)
    return (number >> RANDOM_BITS) / 1000


def new_id(prefix: str) -> str:
    """Return `<prefix>_` and 26 characters: milliseconds since 1970, then 82 random bits.

    Ids sort by the time they were made: within one process always, between processes to the millisecond. So those made
    within one millisecond may be guessed from one another: an id is no secret.
    """
    global _last
    milliseconds = time.time_ns() // 1_000_000 % (1 << TIME_BITS)
    number = (milliseconds << RANDOM_BITS) | _random.getrandbits(RANDOM_BITS)
    with _lock:
        number = _last = max(number, _last + 1)
    pairs = [_PAIRS[(number >> shift) & 1023] for shift in range(5 * (LENGTH - 2), -1, -10)]
    return f"{prefix}_{''.join(pairs)}"
