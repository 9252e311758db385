"""What the pages say of the service itself, in words: its worker, its parts, its log. `service.health` knows it."""

from dataclasses import dataclass

from registry.log_lines import LOG_LINES
from registry.loops import State
from service.health import Health
from service.http.security import Principal
from service.schemas.operations import WorkerHealth

WORKER = {
    "starting": "The worker is starting: it learns what waits as soon as it is up.",
    "down": "The worker is down: nothing is learned until it is up again.",
    "refused": "The worker cannot work with its settings: nothing is learned until they are corrected and the service "
    "is started again.",
    "unknown": "Whether a worker is there is not known, because the database does not answer.",
}
"""What it means that the worker is not up, by its state."""
NO_WORKER = "No worker is there: nothing is learned until one starts."
"""The same where the service starts none."""
STOPS_LEARNING = frozenset({"down", "refused"})
"""States of the worker in which nothing is learned, and which do not pass by waiting a moment."""

PARTS = {
    "inference": ("Predicting", "no image is answered"),
    "watcher": (
        "Following the database",
        "new versions, keys and names of classes are not noticed",
    ),
    "prediction-jobs": ("Predicting many images", "prediction jobs wait"),
    "prediction-writer": ("Keeping answers", "new answers do not appear in the history"),
    "doorbell": ("Calling workers", "workers on Celery may not hear of new tasks"),
    "listener": ("Hearing", "what others publish or queue is noticed up to seconds later"),
    "notifier": ("Telling others", "messages to subscribers wait"),
    "collector": ("Tidying up", "what nothing needs any more is not deleted"),
    "postgres": ("Watching the database", "it is not started again if it dies"),
    "worker-process": ("Watching the worker", "it is not started again if it dies"),
}
"""The parts of the service by name: what each does, and what is so while it does not."""
UNNAMED = "something of the service does not work"


@dataclass(frozen=True)
class PartView:
    """A part of the service as a row of a table."""

    title: str
    """What it does."""
    consequence: str
    """What is so while it does not."""
    state: State
    failures: int
    """How often an error broke it off since the service was started."""

    @property
    def sentence(self) -> str:
        """What it means that it does not work."""
        ending = ", and is tried again within seconds" if self.state == "failing" else ""
        return f"{self.title} does not work{ending}: {self.consequence}."


@dataclass(frozen=True)
class Condition:
    """How the service is."""

    worker: WorkerHealth
    worker_sentence: str | None
    """What it means that the worker is not up; None if it is."""
    refusal: str | None
    """Why the worker cannot work with its settings, for who may know them."""
    restarts: int
    """How often the worker that the service starts has died and was started again."""
    parts: list[PartView]
    lines_lost: int
    """Lines of the log that could not be written since the service was started."""

    @property
    def alarms(self) -> list[str]:
        """What does not work now, a sentence for each; first of all that nothing is learned."""
        stops = [self.worker_sentence] if self.worker in STOPS_LEARNING else []
        broken = [part.sentence for part in self.parts if part.state != "up"]
        return [sentence for sentence in (*stops, *broken) if sentence]


def condition_of(health: Health, viewer: Principal) -> Condition:
    """Return how the service is, as far as the viewer may know: only an admin reads the values of settings."""
    worker, own = health.worker, health.worker_process
    is_missed = own is None and worker == "down"
    return Condition(
        worker=worker,
        worker_sentence=NO_WORKER if is_missed else WORKER.get(worker),
        refusal=health.refusal if viewer.may("admin") else None,
        restarts=own.restarts if own is not None else 0,
        parts=[
            PartView(*PARTS.get(thread.name, (thread.name, UNNAMED)), thread.state, thread.failures)
            for thread in health.threads
        ],
        lines_lost=LOG_LINES.dropped,
    )
