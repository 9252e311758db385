"""Work of many owners on a few threads: whoever has had least is served next, and what waits for whom is known.

Start-time fair queueing (Goyal, Vin and Cheng 1996): each owner has a lane with a clock of its own, which goes on by
what its work costs. The lane whose clock is furthest behind is next. So a lane full of costly work does not delay the
one small piece of another owner by more than what runs just then.
"""

import os
import weakref
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Condition, Thread, get_native_id
from time import perf_counter
from typing import Any, Generic, TypeVar

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")
STOP_S = 30.0
"""How long the threads are waited for when a pool closes."""
FADING = 0.9
"""What is left of the weight of earlier work in the measured speed each time a piece is done; chosen, untested."""


@dataclass
class _Lane(Generic[ItemT]):
    clock: float
    """What its owner has had, on the scale that all lanes share."""
    items: deque[tuple[float, ItemT]] = field(default_factory=deque)
    """Cost and item, in the order they came."""
    waiting: float = 0.0
    """Cost of all of them."""


class FairQueue(Generic[ItemT]):
    """What waits, in a lane for each owner. Not safe for threads by itself."""

    def __init__(self) -> None:
        self._lanes: dict[Hashable, _Lane[ItemT]] = {}
        self._clock = 0.0

    def __len__(self) -> int:
        return sum(len(lane.items) for lane in self._lanes.values())

    def __bool__(self) -> bool:
        return any(lane.items for lane in self._lanes.values())

    def put(self, owner: Hashable, cost: float, item: ItemT) -> None:
        """Let an item wait in its owner's lane."""
        lane = self._lanes.setdefault(owner, _Lane(self._clock))
        if not lane.items:
            lane.clock = max(lane.clock, self._clock)
        lane.items.append((cost, item))
        lane.waiting += cost

    def take(self) -> ItemT:
        """Remove the next item. There must be one."""
        lane = min((lane for lane in self._lanes.values() if lane.items), key=lambda one: one.clock)
        self._clock = lane.clock
        cost, item = lane.items.popleft()
        lane.clock += cost
        lane.waiting -= cost
        self._forget_idle()
        return item

    def take_fitting(self, fits: Callable[[ItemT], bool]) -> list[ItemT]:
        """Remove and return those that fit, wherever they wait; their owners pay for them.

        Args:
            fits: Asked of each item once; what it says may depend on what it has said before.
        """
        taken = []
        for lane in self._lanes.values():
            kept: deque[tuple[float, ItemT]] = deque()
            for cost, item in lane.items:
                if fits(item):
                    taken.append(item)
                    lane.clock += cost
                    lane.waiting -= cost
                else:
                    kept.append((cost, item))
            lane.items = kept
        self._forget_idle()
        return taken

    def remove(self, owner: Hashable, gone: ItemT) -> None:
        """Remove an item that nobody waits for any more, if it is still there; it costs nothing."""
        lane = self._lanes.get(owner)
        for index, (cost, item) in enumerate(lane.items if lane is not None else ()):
            if item is gone and lane is not None:
                del lane.items[index]
                lane.waiting -= cost
                break
        self._forget_idle()

    def ahead(self, owner: Hashable, cost: float) -> float:
        """Return the cost of what would be served before the end of new work of an owner, without that work."""
        mine = self._lanes.get(owner) or _Lane(self._clock)
        until = max(mine.clock, self._clock) + mine.waiting + cost
        others = (lane for lane in self._lanes.values() if lane is not mine and lane.items)
        return mine.waiting + sum(
            # Its next item may be served before though it ends later.
            min(lane.waiting, max(0.0, until - lane.clock) + lane.items[0][0])
            for lane in others
        )

    def _forget_idle(self) -> None:
        """Forget lanes without items that are owed nothing; all of them once nothing waits."""
        if not self:
            self._lanes.clear()
        for owner in [
            name
            for name, lane in self._lanes.items()
            if not lane.items and lane.clock <= self._clock
        ]:
            del self._lanes[owner]


@dataclass(eq=False)
class _Job:
    owner: Hashable
    cost: float
    work: Callable[[], Any]
    future: Future[Any]


class FairPool:
    """Threads that do what waits in a `FairQueue`, and know about how fast. Close it when the service stops."""

    def __init__(self, n_threads: int, name: str, *, unit_s: float, niceness: int = 0) -> None:
        """Start nothing yet.

        Args:
            n_threads: Most pieces of work at a time.
            name: Of the threads.
            unit_s: Seconds that a unit of cost takes, about, until it is measured.
            niceness: How far the threads stand back for others of this process, where the system knows that.
        """
        self._n_threads = n_threads
        self._name = name
        self._niceness = niceness
        self._queue: FairQueue[_Job] = FairQueue()
        self._changed = Condition()
        self._threads: list[Thread] = []
        self._n_idle = 0
        self._running = 0.0
        self._unit_s = unit_s
        self._seconds = self._cost = 0.0
        self._is_closing = False

    def submit(self, owner: Hashable, cost: float, work: Callable[[], ResultT]) -> Future[ResultT]:
        """Let a thread do some work when its owner's turn comes. Cancelled before, it costs nothing."""
        job = _Job(owner, cost, work, Future())
        with self._changed:
            if self._is_closing:
                raise RuntimeError("The threads have been stopped.")
            self._queue.put(owner, cost, job)
            if len(self._queue) > self._n_idle and len(self._threads) < self._n_threads:
                self._threads.append(Thread(target=self._run, name=self._name, daemon=True))
                self._threads[-1].start()
            self._changed.notify()
        # Weakly: a circle would keep the result until somebody collects it.
        own = weakref.ref(job)
        job.future.add_done_callback(
            lambda future: self._let_go(own()) if future.cancelled() else None
        )
        return job.future

    def wait_s(self, owner: Hashable, cost: float) -> float:
        """Return how long others' work and earlier work of the owner would hold up new work, about, in seconds."""
        with self._changed:
            ahead = self._queue.ahead(owner, cost) + self._running
            return ahead * self._unit_s / self._n_threads

    def own_s(self, cost: float) -> float:
        """Return how long such work takes by itself on one thread, about, in seconds."""
        return cost * self._unit_s

    @property
    def n_waiting(self) -> int:
        """Pieces of work that no thread has begun."""
        with self._changed:
            return len(self._queue)

    def close(self) -> None:
        """Drop what waits and end the threads after what they are doing."""
        with self._changed:
            self._is_closing = True
            dropped = [self._queue.take() for _ in range(len(self._queue))]
            self._changed.notify_all()
        for job in dropped:
            job.future.cancel()
        for thread in self._threads:
            thread.join(STOP_S)

    def _let_go(self, job: _Job | None) -> None:
        if job is not None:
            with self._changed:
                self._queue.remove(job.owner, job)

    def _run(self) -> None:
        if self._niceness:
            stand_back(self._niceness)
        while (job := self._next()) is not None:
            started = perf_counter()
            try:
                job.future.set_result(job.work())
            except Exception as error:  # noqa: BLE001 (whatever it is belongs to whoever asked)
                job.future.set_exception(error)
            with self._changed:
                self._running -= job.cost
                self._measure(perf_counter() - started, job.cost)
            del job

    def _next(self) -> _Job | None:
        """Return the next piece of work, already marked as running; None to end."""
        while True:
            with self._changed:
                self._n_idle += 1
                self._changed.wait_for(lambda: self._queue or self._is_closing)
                self._n_idle -= 1
                if not self._queue:
                    return None
                job = self._queue.take()
                self._running += job.cost
            if job.future.set_running_or_notify_cancel():
                return job
            with self._changed:
                self._running -= job.cost

    def _measure(self, seconds: float, cost: float) -> None:
        self._seconds = FADING * self._seconds + seconds
        self._cost = FADING * self._cost + cost
        if self._cost > 0:
            self._unit_s = self._seconds / self._cost


def stand_back(niceness: int) -> None:
    """Let other threads of this process go first, where the system lets one thread do so."""
    with suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, get_native_id(), niceness)
