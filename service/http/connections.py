"""The open connections of one service: how many, whose, and which of them goes when there are too many.

A connection is a stranger's until a request on it came with a valid key. When there are more than the limit, one goes
for each that comes: a stranger's idle one first, then a stranger's busy one, then an idle one of a key; each time the
oldest of whoever holds the most. So who opens a thousand takes away his own, and a busy connection of a key is never
taken. Behind a proxy all come from one address, and the oldest goes.
"""

from collections import OrderedDict
from time import monotonic
from typing import Protocol

RESERVED = 100
"""Connections beyond the limit that may be open for a moment: for health, and to say 503 on."""
YOUNG_S = 0.5
"""How long a connection is left alone for its request to come and to be answered, while there is a reserve."""


class Connection(Protocol):
    """What is known of a connection."""

    address: str
    """Where it comes from, as the socket says: what a proxy passes on is of a request."""

    @property
    def key_id(self) -> str | None:
        """The valid key that was last seen on it, if there was one."""

    def cut(self) -> None:
        """Close it now, whatever it does."""

    def part(self) -> None:
        """Say on it that it ends with the next answer."""


class _Groups:
    """Connections by who holds them, each with the time of its last change, oldest first."""

    def __init__(self) -> None:
        self._of: dict[str, OrderedDict[Connection, float]] = {}

    def add(self, holder: str, connection: Connection) -> None:
        self._of.setdefault(holder, OrderedDict())[connection] = monotonic()

    def remove(self, holder: str, connection: Connection) -> None:
        group = self._of[holder]
        del group[connection]
        if not group:
            del self._of[holder]

    def oldest(self) -> tuple[Connection, float] | None:
        """Return the oldest one of whoever holds the most, and since when it is what it is."""
        if not self._of:
            return None
        return next(iter(max(self._of.values(), key=len).items()))


class Connections:
    """All connections of a service. For one event loop."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.is_draining = False
        """Whether the service is about to stop: every answer says that its connection ends."""
        self.n_busy = 0
        """Connections with a request that is read, worked on or answered."""
        self._groups = {
            (is_known, is_busy): _Groups()
            for is_known in (False, True)
            for is_busy in (False, True)
        }
        self._places: dict[Connection, tuple[bool, bool, str]] = {}

    def __len__(self) -> int:
        return len(self._places)

    @property
    def is_full(self) -> bool:
        """Whether more requests are under way than there may be connections."""
        return self.n_busy > self.limit

    def opened(self, connection: Connection) -> None:
        """Take one in, and let another one go if there are too many."""
        self._put(connection, is_busy=False)
        if len(self) > self.limit:
            self._make_room(connection)

    def began(self, connection: Connection) -> None:
        """Note that a request is under way on it."""
        self._put(connection, is_busy=True)

    def rested(self, connection: Connection) -> None:
        """Note that nothing is under way on it."""
        self._put(connection, is_busy=False)

    def closed(self, connection: Connection) -> None:
        """Forget it."""
        self._take(connection)

    def drain(self) -> None:
        """Let every connection end with its next answer, and those to come with their first."""
        self.is_draining = True
        for connection in list(self._places):
            connection.part()

    def _put(self, connection: Connection, *, is_busy: bool) -> None:
        self._take(connection)
        is_known = connection.key_id is not None
        holder = connection.key_id or connection.address
        self._places[connection] = (is_known, is_busy, holder)
        self._groups[is_known, is_busy].add(holder, connection)
        self.n_busy += is_busy

    def _take(self, connection: Connection) -> None:
        place = self._places.pop(connection, None)
        if place is not None:
            is_known, is_busy, holder = place
            self._groups[is_known, is_busy].remove(holder, connection)
            self.n_busy -= is_busy

    def _make_room(self, newest: Connection) -> None:
        is_urgent = len(self) > self.limit + RESERVED
        for is_known, is_busy in ((False, False), (False, True), (True, False)):
            victim = self._victim(is_known, is_busy, is_urgent)
            if victim is not None and victim is not newest:
                victim.cut()
                return

    def _victim(self, is_known: bool, is_busy: bool, is_urgent: bool) -> Connection | None:
        groups = self._groups[is_known, is_busy]
        while oldest := groups.oldest():
            connection, since = oldest
            if not is_known and connection.key_id is not None:
                self._put(connection, is_busy=is_busy)  # its key was seen since
                continue
            return connection if is_urgent or monotonic() - since > YOUNG_S else None
        return None
