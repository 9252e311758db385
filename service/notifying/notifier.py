"""The thread that empties the outbox: it claims messages and hands each to a thread that sends it, a few at a time.

Several services may each run one; a message is claimed by one of them. Each sends one message at a time to a
subscriber, so a slow receiver holds up neither the others nor a prediction.
"""

from collections.abc import Callable
from threading import Event, Lock, Thread
from typing import Protocol

import structlog

from registry import deliveries
from registry.deliveries import Claimed, Outcome
from registry.errors import (
    DatabaseUnavailableError,
    FencedError,
    RegistryError,
    SubscriptionNotFoundError,
)
from registry.loops import SteadyThread
from registry.postgres.database import Sessions
from registry.tables import GIVEN_UP
from service.metrics import Metrics
from service.notifying.mqtt_sending import SCHEME

log = structlog.get_logger(__name__)

SENDERS = 4
"""Messages that are sent at once."""
LEASE_S = 60.0
"""How long a service may have a message before another one takes it over: longer than a try, with finding the address,
takes."""
LOOK_S = 15.0
"""How often the thread looks for messages that it was not told of."""
RETRY_S = 1.0
STOP_S = 5.0
INTERNAL = "The message could not be sent; the log of the service says why."


class Sender(Protocol):
    """Sends a message in one try."""

    def send(self, message: Claimed) -> Outcome:
        """Try once, and return what came of it; raises nothing."""


class Mqtt(Sender, Protocol):
    """Keeps a connection."""

    def close(self) -> None:
        """End the connection."""


class Notifier:
    """A thread that sends what waits for subscribers."""

    def __init__(
        self,
        session_factory: Sessions,
        *,
        http: Sender,
        mqtt: Mqtt,
        metrics: Metrics,
        look: Callable[[], bool],
        lease_s: float = LEASE_S,
    ) -> None:
        """Start nothing yet.

        Args:
            session_factory: Of the database with the messages.
            http: Sends those to URLs.
            mqtt: Sends those to the broker.
            metrics: Told what was sent.
            look: Called now and then: tells of what no transaction tells of, a little at a time, and returns whether
                there may be more.
            lease_s: How long a message is this service's once it is claimed.
        """
        self._sessions = session_factory
        self._http = http
        self._mqtt = mqtt
        self._metrics = metrics
        self._look = look
        self._lease_s = lease_s
        self._busy: set[str] = set()
        self._lock = Lock()
        self._wakeup = Event()
        self._stopping = Event()
        self.thread = SteadyThread("notifier", self._run)

    def start(self) -> None:
        """Start the thread."""
        self.thread.start()

    def stop(self) -> None:
        """End the thread. What is being sent just now may be sent once more by whoever takes it over."""
        self._stopping.set()
        self._wakeup.set()
        self.thread.join(timeout=STOP_S)
        self._mqtt.close()

    def wake(self) -> None:
        """Look for messages now."""
        self._wakeup.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wakeup.clear()
            try:
                has_more = self._look()
                wait_s = self._send_due()
            except RegistryError as error:
                log.warning("messages_wait", reason=str(error))
                self._stopping.wait(RETRY_S)
                continue
            if not has_more:
                self._wakeup.wait(wait_s)

    def _send_due(self) -> float:
        """Hand out what is due, as far as somebody is free to send it, and return how long nothing more will be."""
        while not self._stopping.is_set():
            with self._lock:
                busy = set(self._busy)
            if len(busy) >= SENDERS:
                return LOOK_S  # whoever becomes free wakes us
            with self._sessions.begin() as session:
                message = deliveries.claim(session, self._lease_s, busy)
            if message is None:
                break
            with self._lock:
                self._busy.add(message.subscription_id)
            # Not one of a pool: the process would wait at its end for what a slow receiver takes.
            sending = Thread(target=self._deliver, args=(message,), name="sending", daemon=True)
            try:
                sending.start()
            except RuntimeError:
                with self._lock:
                    self._busy.discard(message.subscription_id)
                raise
        with self._sessions() as session:
            due_s = deliveries.next_due_s(session, busy)
        return LOOK_S if due_s is None else min(due_s, LOOK_S)

    def _deliver(self, message: Claimed) -> None:
        try:
            self._settle(message, self._send(message))
        except RegistryError as error:
            log.warning("message_not_noted", message=message.id, reason=str(error))
        finally:
            with self._lock:
                self._busy.discard(message.subscription_id)
            self._wakeup.set()

    def _send(self, message: Claimed) -> Outcome:
        sender = self._mqtt if message.target.startswith(SCHEME) else self._http
        try:
            return sender.send(message)
        except Exception:
            # Counted as a try like any other: it must not come again for ever.
            log.exception("message_not_sent", message=message.id)
            return Outcome(None, 0, INTERNAL)

    def _settle(self, message: Claimed, outcome: Outcome) -> None:
        """Note what came of a try, once the database can be asked; else it is sent again when its lease is over."""
        while True:
            try:
                with self._sessions.begin() as session:
                    status = deliveries.settle(session, message, outcome)
            except (FencedError, SubscriptionNotFoundError):
                return
            except DatabaseUnavailableError:
                if self._stopping.wait(RETRY_S):
                    return
            else:
                break
        self._metrics.messages.labels("failed" if outcome.error else "delivered").inc()
        if status == GIVEN_UP:
            log.warning(
                "message_given_up",
                message=message.id,
                subscription=message.subscription_id,
                reason=outcome.error,
            )
