"""What learning costs the others: while nothing is asked, and those who ask for predictions."""

import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict

from benchmarks.bad_input.service import Service
from benchmarks.learning_speed.given import JSON, Given, taught_in_turn
from benchmarks.learning_speed.processes import below, costs, is_quiet, used
from benchmarks.learning_speed.teaching import CONSOLIDATES, Teacher
from benchmarks.learning_speed.traffic import Asking, Period
from benchmarks.load.sampling import look
from benchmarks.waiting import wait_until
from registry.statuses import ENDED, TaskStatus

MOST_TASKS = 50
"""That are posted one after the other in one period."""


def idle(service: Service, given: Given) -> JSON:
    """Look at what everything below the service costs while nothing is asked, once one task was learned."""
    taught_in_turn(service, given, 1, *given.few)
    root = service.process.pid
    wait_until(lambda: is_quiet(root), look_s=0.5)
    before, started = used(below(root)), time.perf_counter()
    time.sleep(given.seconds)
    wall_s = time.perf_counter() - started
    found = costs(before, below(root))
    waiting = [cost for cost in found if cost.name.startswith("worker.learn")]
    own = look(root)
    return {
        "seconds": round(wall_s, 1),
        "waiting": [asdict(cost) for cost in waiting],
        "others": [
            asdict(cost)
            for cost in found
            if cost not in waiting and not cost.name.startswith("postgres")
        ],
        "service_mib": round(own.rss_mib, 1),
    }


def predictions(service: Service, given: Given) -> JSON:
    """Ask at a fixed rate, in turns: while nothing else happens, while tasks are learned, while one is consolidated."""
    teacher = Teacher(service.client)
    asked = given.classes(*given.few)
    teacher.create("asked", given.backbone)
    teacher.teach("asked", asked)
    periods: dict[str, list[Period]] = {"quiet": [], "learning": [], "consolidating": []}
    with Asking(service.url, service.key, "asked", asked[0].asked[0]) as asking:
        for i in range(given.rounds):
            wait_until(lambda: is_quiet(service.process.pid), look_s=0.5)
            periods["quiet"].append(asking.period(given.seconds))
            periods["learning"].append(_while_learning(teacher, asking, given, f"busy-{i}"))
            if CONSOLIDATES:
                period = _while_consolidating(teacher, asking, given, f"resting-{i}")
                periods["consolidating"].append(period)
    return {
        name: {**_middle(found), "p99_ratio": _ratio(found, periods["quiet"])}
        for name, found in periods.items()
        if found
    } | {"rounds": {name: [asdict(one) for one in found] for name, found in periods.items()}}


def _while_learning(teacher: Teacher, asking: Asking, given: Given, learner: str) -> Period:
    """Ask while one task is learned after the other."""
    n, images = given.few
    teacher.create(learner, given.backbone)
    over = threading.Event()
    classes = given.classes(MOST_TASKS * n, images)

    def learn() -> None:
        for i in range(MOST_TASKS):
            if over.is_set():
                return
            teacher.ended(teacher.post(learner, classes[i * n : (i + 1) * n]))

    thread = threading.Thread(target=learn)
    thread.start()
    try:
        return asking.period(given.seconds, thread.is_alive)
    finally:
        over.set()
        thread.join()


def _while_consolidating(teacher: Teacher, asking: Asking, given: Given, learner: str) -> Period:
    teacher.create(learner, given.backbone, adapt=given.adapt)
    teacher.teach(learner, given.classes(*given.many))
    task_id = teacher.start_consolidating(learner)
    wait_until(lambda: teacher.task(task_id)["status"] != TaskStatus.QUEUED)
    looked = {"at": time.monotonic(), "goes_on": True}

    def goes_on() -> bool:
        if time.monotonic() - looked["at"] > 1.0:
            looked.update(at=time.monotonic())
            looked["goes_on"] = teacher.task(task_id)["status"] not in ENDED
        return bool(looked["goes_on"])

    period = asking.period(given.seconds, goes_on)
    teacher.cancel(task_id)
    return period


def _middle(periods: Sequence[Period]) -> JSON:
    return {
        "p50_ms": statistics.median(one.p50_ms for one in periods),
        "p99_ms": statistics.median(one.p99_ms for one in periods),
        "n": sum(one.n for one in periods),
        "n_failed": sum(one.n_failed for one in periods),
    }


def _ratio(loud: Sequence[Period], quiet: Sequence[Period]) -> float:
    """Return how many times as long the slowest hundredth takes, the median over periods next to each other."""
    pairs = zip(loud, quiet, strict=True)
    return round(statistics.median(one.p99_ms / other.p99_ms for one, other in pairs), 2)
