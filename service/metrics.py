"""The service's Prometheus metrics, one registry an app, so that two apps in one process do not collide."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import Scope

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_TASK_SECONDS = (0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3600, 4 * 3600, 24 * 3600)


class Metrics:
    """All counters of the service process. Names are public: dashboards are built on them."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self.registry = registry
        self.requests = Counter(
            "filopodia_requests",
            "Requests answered",
            ["method", "route", "status"],
            registry=registry,
        )
        self.latency = Histogram(
            "filopodia_request_seconds",
            "Time to answer",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.decode_seconds = Histogram(
            "filopodia_decode_seconds", "Decoding one image", buckets=_SECONDS, registry=registry
        )
        self.queue_seconds = Histogram(
            "filopodia_infer_queue_seconds",
            "Waiting for a batch",
            buckets=_SECONDS,
            registry=registry,
        )
        self.infer_seconds = Histogram(
            "filopodia_infer_seconds", "Scoring one batch", buckets=_SECONDS, registry=registry
        )
        self.batch_images = Histogram(
            "filopodia_batch_images",
            "Images in a batch",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128),
            registry=registry,
        )
        self.passes = Counter(
            "filopodia_passes", "Forwards of the backbone", ["learner"], registry=registry
        )
        self.images = Counter(
            "filopodia_images_predicted", "Images predicted", ["learner"], registry=registry
        )
        self.functional = Counter(
            "filopodia_synapses_functional",
            "Times the synapse of a task was functional",
            ["learner", "task"],
            registry=registry,
        )
        self.overloaded = Counter(
            "filopodia_predictions_refused", "Requests refused for load", registry=registry
        )
        self.dropped = Counter(
            "filopodia_predictions_not_stored", "Answers the history lost", registry=registry
        )
        self.images_not_kept = Counter(
            "filopodia_prediction_images_not_kept",
            "Images that were predicted and stored without: no room in memory or on the disk",
            registry=registry,
        )
        self.job_images = Counter(
            "filopodia_prediction_job_images",
            "Images of prediction jobs answered by this process",
            registry=registry,
        )
        self.messages = Counter(
            "filopodia_messages",
            "Tries of this process to send messages to subscribers, by what came of them",
            ["outcome"],
            registry=registry,
        )
        self.versions_loaded = Gauge(
            "filopodia_versions_loaded", "Versions in memory", registry=registry
        )
        self.loaded_bytes = Gauge(
            "filopodia_loaded_bytes",
            "Tensors of the versions in memory, shared backbones aside",
            registry=registry,
        )
        self.versions_dropped = Counter(
            "filopodia_versions_dropped",
            "Versions dropped from memory to stay within the bound of bytes",
            registry=registry,
        )
        self.versions_loaded_on_request = Counter(
            "filopodia_versions_loaded_on_request",
            "Versions loaded because a request needed one that was not in memory",
            registry=registry,
        )
        self.swap_seconds = Histogram(
            "filopodia_swap_seconds",
            "Loading a version until it is served",
            buckets=_SECONDS,
            registry=registry,
        )
        self.load_failures = Counter(
            "filopodia_version_load_failures",
            "Versions that could not be loaded",
            registry=registry,
        )
        self.queue_depth = Gauge(
            "filopodia_tasks_waiting", "Tasks queued or running", registry=registry
        )
        self.learners_waiting = Gauge(
            "filopodia_learners_waiting",
            "Learners with a task queued or running: as many workers can be busy with tasks",
            registry=registry,
        )
        self.consolidations_waiting = Gauge(
            "filopodia_consolidations_waiting",
            "Consolidations queued or running; nobody waits for them",
            registry=registry,
        )
        self.database_up = Gauge(
            "filopodia_database_up",
            "Whether the last look at the database worked",
            registry=registry,
        )
        self.queue_age = Gauge(
            "filopodia_tasks_oldest_seconds", "Age of the oldest task that waits", registry=registry
        )
        self.tasks_ended = Counter(
            "filopodia_tasks_ended",
            "Tasks that have ended while this process ran, by how; every service process counts all of them",
            ["status"],
            registry=registry,
        )
        self.phase_seconds = Histogram(
            "filopodia_task_phase_seconds",
            "Time a published task spent in a phase, counted as filopodia_tasks_ended",
            ["phase"],
            buckets=_TASK_SECONDS,
            registry=registry,
        )
        self.task_wait_seconds = Histogram(
            "filopodia_task_wait_seconds",
            "From the creation of a task, consolidations aside, to the start of the attempt that ended it",
            buckets=_TASK_SECONDS,
            registry=registry,
        )
        self.worker_seen = Gauge(
            "filopodia_worker_seen_seconds",
            "Time since a worker's last sign of life; gone once it has stopped in order",
            ["worker"],
            registry=registry,
        )
        self.accuracy = Gauge(
            "filopodia_accuracy",
            "Accuracy on all images held out or left out in turn",
            ["learner"],
            registry=registry,
        )
        self.accuracy_low = Gauge(
            "filopodia_accuracy_low",
            "Lower end of its 95 % interval",
            ["learner"],
            registry=registry,
        )
        self.accuracy_high = Gauge(
            "filopodia_accuracy_high",
            "Upper end of its 95 % interval",
            ["learner"],
            registry=registry,
        )
        self.accuracy_images = Gauge(
            "filopodia_accuracy_images", "Images it was measured on", ["learner"], registry=registry
        )
        self.forgetting = Gauge(
            "filopodia_forgetting", "Mean drop on earlier tasks", ["learner"], registry=registry
        )
        self.device_memory = Gauge(
            "filopodia_device_memory_bytes", "Memory of the device in use", registry=registry
        )

    def observe_request(self, scope: Scope, status: int | None, seconds: float) -> None:
        """Count one answered request under its route's pattern, never under the path as sent."""
        route = str(getattr(scope.get("route"), "path", "other"))
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self.requests.labels(method, route, str(status or 0)).inc()
        self.latency.labels(route).observe(seconds)

    def observe_scores(
        self, learner: str, tasks: Sequence[int], functional: NDArray[np.bool_], passes: int
    ) -> None:
        """Count the images of one answered part, their passes, and which synapses were functional."""
        self.images.labels(learner).inc(len(functional))
        self.passes.labels(learner).inc(passes)
        if not functional.any():
            return
        for task, count in zip(tasks, functional.sum(axis=0), strict=True):
            if count:
                self.functional.labels(learner, str(task)).inc(int(count))

    def exposition(self) -> bytes:
        """Return all metrics in the Prometheus text format."""
        return generate_latest(self.registry)


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
