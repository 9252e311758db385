"""Storing answered predictions behind the requests' backs: a bounded queue and one thread.

An answer never waits for the database. When the queue is full, the newest answers are counted and dropped.
"""

import queue
import time
from threading import Condition, Thread

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from registry.errors import RegistryError
from registry.predictions import NewPrediction, add_predictions
from service.metrics import Metrics

log = structlog.get_logger(__name__)

BATCH = 200
RETRY_S = 1.0


class PredictionWriter:
    """Writes predictions in the order they were answered."""

    def __init__(
        self, session_factory: sessionmaker[Session], metrics: Metrics, *, backlog: int
    ) -> None:
        self._sessions = session_factory
        self._metrics = metrics
        self._queue: queue.Queue[NewPrediction | None] = queue.Queue(backlog)
        self._written = Condition()
        self._unwritten = 0
        self._thread = Thread(target=self._run, name="prediction-writer", daemon=True)
        self._is_stopping = False

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Write what waits, for a few seconds at most, then end the thread."""
        self._is_stopping = True
        self.wait_written(5.0)
        try:
            self._queue.put_nowait(None)
        except queue.Full:
            return
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def put(self, prediction: NewPrediction) -> None:
        """Queue a prediction to be stored; never blocks."""
        try:
            with self._written:
                self._queue.put_nowait(prediction)
                self._unwritten += 1
        except queue.Full:
            self._metrics.dropped.inc()

    def wait_written(self, timeout_s: float) -> None:
        """Wait until everything put so far is stored, or the time is over: a reader sees its own writes."""
        with self._written:
            self._written.wait_for(lambda: self._unwritten == 0, timeout_s)

    def _run(self) -> None:
        while True:
            batch, is_end = self._take()
            if batch:
                self._write(batch)
                with self._written:
                    self._unwritten -= len(batch)
                    self._written.notify_all()
            if is_end:
                return

    def _take(self) -> tuple[list[NewPrediction], bool]:
        batch: list[NewPrediction] = []
        item = self._queue.get()
        while item is not None:
            batch.append(item)
            if len(batch) == BATCH:
                return batch, False
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return batch, False
        return batch, True

    def _write(self, batch: list[NewPrediction]) -> None:
        while True:
            try:
                with self._sessions.begin() as session:
                    add_predictions(session, batch)
            except RegistryError:
                if self._is_stopping:
                    self._metrics.dropped.inc(len(batch))
                    return
                time.sleep(RETRY_S)
            except SQLAlchemyError:
                self._write_singly(batch)
                return
            else:
                return

    def _write_singly(self, batch: list[NewPrediction]) -> None:
        """Store one by one: a learner deleted meanwhile must not take the others' answers with it."""
        for prediction in batch:
            try:
                with self._sessions.begin() as session:
                    add_predictions(session, [prediction])
            except (SQLAlchemyError, RegistryError):
                self._metrics.dropped.inc()
                log.info("prediction_not_stored", prediction=prediction.id)
