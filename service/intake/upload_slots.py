"""How many uploads are decoded at the same time, and that one key does not take all of them."""

from collections import Counter
from collections.abc import Callable, Hashable
from typing import TypeVar

from anyio import CapacityLimiter, to_thread

from service.problems import Problem

ResultT = TypeVar("ResultT")


class UploadSlots:
    """Slots for uploads that are decoded, on threads of their own. For one event loop.

    A key's uploads leave one slot to others: those beyond wait.
    """

    def __init__(self, n_slots: int) -> None:
        self._n_slots = n_slots
        self.slots = CapacityLimiter(n_slots)
        """Of all keys together."""
        self._of_owner: dict[Hashable, CapacityLimiter] = {}
        self._n_here: Counter[Hashable] = Counter()
        """Uploads of each key that are decoded or wait for it."""

    @property
    def n_under_way(self) -> int:
        """Uploads of all keys that are decoded or wait for it."""
        return self._n_here.total()

    def require(self, owner: Hashable) -> None:
        """Refuse an upload, before it is read, while as many are being decoded as may be.

        Raises:
            Problem: `overloaded`.
        """
        if self.slots.available_tokens < 1 or self._n_here[owner] >= self._n_slots:
            raise Problem("overloaded", "Too many uploads are being decoded: repeat in a moment.")

    async def run(self, owner: Hashable, work: Callable[[], ResultT]) -> ResultT:
        """Do the blocking work of an upload in a thread once there is a slot for its owner."""
        most = max(1, self._n_slots - 1)
        mine = self._of_owner.setdefault(owner, CapacityLimiter(most))
        self._n_here[owner] += 1
        try:
            async with mine:
                return await to_thread.run_sync(work, limiter=self.slots)
        finally:
            self._n_here[owner] -= 1
            if not self._n_here[owner]:
                del self._n_here[owner], self._of_owner[owner]
