"""What of the service works: its threads, its worker, its log. `/readyz` and the metrics tell it."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from registry.log_lines import LOG_LINES
from registry.loops import SteadyThread
from registry.workers import LOST_AFTER
from service.inference.watcher import Watcher
from service.schemas.operations import WorkerHealth
from service.worker_process import WorkerProcess

STARTING_S = 60.0
"""Within which an embedded worker that was started has to show that it lives."""


class Health(Collector):
    """Asks those who know. Also a collector of metrics."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._threads: list[SteadyThread] = []
        self.worker_process: WorkerProcess | None = None

    def watch(self, *threads: SteadyThread | None) -> None:
        """Tell of these too."""
        self._threads += [thread for thread in threads if thread is not None]

    def watch_worker(self, process: WorkerProcess) -> None:
        """Tell of the embedded worker too."""
        self.worker_process = process
        self.watch(process.thread)

    @property
    def threads(self) -> tuple[SteadyThread, ...]:
        """What has to run as long as the service does."""
        return tuple(self._threads)

    @property
    def refusal(self) -> str | None:
        """Why the embedded worker does not work with its settings; None if it does, or there is none."""
        return self.worker_process.refusal if self.worker_process is not None else None

    @property
    def worker(self) -> WorkerHealth:
        """Whether somebody learns what is queued: the embedded worker, or any other one."""
        is_known = self._watcher.is_database_up and self._watcher.has_looked
        unseen_s = self._watcher.worker_unseen_s
        is_seen = unseen_s < LOST_AFTER.total_seconds()
        own = self.worker_process
        if own is None:
            return ("up" if is_seen else "down") if is_known else "unknown"
        if own.refusal is not None:
            return "refused"
        if not own.is_running:
            return "down"
        if not is_known:
            return "unknown"
        # What was seen before it was started was the one before it.
        if is_seen and unseen_s < own.age_s:
            return "up"
        return "starting" if own.age_s < STARTING_S else "down"

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of the moment."""
        up = GaugeMetricFamily(
            "filopodia_thread_up", "Whether a thread of the service works", labels=["thread"]
        )
        failures = CounterMetricFamily(
            "filopodia_thread_failures",
            "Times an error broke off the work of a thread, which then began again",
            labels=["thread"],
        )
        for thread in self._threads:
            up.add_metric([thread.name], float(thread.state == "up"))
            failures.add_metric([thread.name], thread.failures)
        yield up
        yield failures
        yield GaugeMetricFamily(
            "filopodia_worker_up",
            "Whether the embedded worker, or without it any worker, is there to learn",
            value=float(self.worker == "up"),
        )
        if self.worker_process is not None:
            yield CounterMetricFamily(
                "filopodia_worker_restarts",
                "Times the embedded worker was started again because it had died",
                value=self.worker_process.restarts,
            )
        yield CounterMetricFamily(
            "filopodia_log_lines_dropped",
            "Log lines of the service that could not be written: a full disk, a pipe that nobody reads",
            value=LOG_LINES.dropped,
        )
