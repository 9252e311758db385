"""The doorbell: how waiting workers hear of a task that may be learned.

The task's row is what counts. A ring only says "look now", carries nothing but an id, may be lost, may come ten times
and may be forged: whoever hears it claims what can be claimed, or finds that there is nothing. `Sweeper` rings for
every task that may be learned and that nobody has taken up, so a lost ring costs seconds, and an emptied Redis nothing.
"""

import threading
import time
from typing import Any, Protocol

import redis
import structlog
from sqlalchemy.orm import Session, sessionmaker

from registry import queue
from registry.errors import DatabaseUnavailableError
from registry.failpoints import failpoint
from registry.loops import SteadyThread

log = structlog.get_logger()

LEARN_TASK = "filopodia.learn"
"""Name of the Celery task; its one argument is the id of the task's row."""
QUEUE = "filopodia"
PREFIX = "filopodia:"
"""Of all keys in Redis, so that a server can be shared."""

BATCH = 20
"""Most tasks that one look rings for: at any time only so many workers are waiting."""
OUTAGE_PAUSE_S = 2.0

TIMEOUT_S = 2.0


class BellError(Exception):
    """Redis does not answer."""


class MessageSender(Protocol):
    """What a Celery app can do for us. This package does not import Celery."""

    def send_task(self, name: str, args: list[str], **options: Any) -> object:
        """Put a message into the queue."""


class Bell:
    """Rings through a Celery app; fails soon rather than waiting for a Redis that is away.

    Args:
        app: Configured with `celery_settings`.
        redis_url: Of its broker.
    """

    def __init__(self, app: MessageSender, redis_url: str) -> None:
        self._app = app
        self._redis = redis.Redis.from_url(
            redis_url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S
        )

    def ring(self, task_id: str) -> None:
        """Tell a waiting worker of a task.

        Raises:
            BellError: If that cannot be done now.
        """
        try:
            self._app.send_task(LEARN_TASK, [task_id], retry=False, ignore_result=True)
        except Exception as error:  # kombu, redis and sockets each have their own
            raise BellError(type(error).__name__) from error

    def check(self) -> None:
        """Ask Redis whether it is there.

        Raises:
            BellError: If it does not answer.
        """
        try:
            self._redis.ping()
        except (redis.RedisError, OSError) as error:
            raise BellError(type(error).__name__) from error


def celery_settings(redis_url: str) -> dict[str, Any]:
    """Return the settings of Celery for those who ring and those who listen.

    Messages are acknowledged early: the lease in the database, not the broker, decides about a second attempt.
    """
    return {
        "broker_url": redis_url,
        "result_backend": None,
        "task_ignore_result": True,
        "task_default_queue": QUEUE,
        "task_acks_late": False,
        "task_reject_on_worker_lost": False,
        "task_time_limit": None,
        "task_publish_retry": False,
        "task_serializer": "json",
        "accept_content": ["json"],
        "worker_concurrency": 1,
        "worker_prefetch_multiplier": 1,
        "worker_disable_prefetch": True,
        "worker_send_task_events": False,
        "worker_enable_remote_control": False,
        "worker_hijack_root_logger": False,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_transport_options": {
            "socket_timeout": 5,
            "socket_connect_timeout": 2,
            "socket_keepalive": True,
            "health_check_interval": 25,
            "visibility_timeout": 43_200,
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
            "global_keyprefix": PREFIX,
        },
    }


class Sweeper:
    """A thread that rings for tasks that may be learned: at once when it is woken, and again until one is taken up.

    Any number of them may run: a task is rung for once in `every_s`, whoever does it.
    """

    def __init__(
        self, session_factory: sessionmaker[Session], bell: Bell, *, every_s: float
    ) -> None:
        self._sessions = session_factory
        self._bell = bell
        self._every_s = every_s
        self._awake = threading.Event()
        self._is_stopping = False
        self.thread: SteadyThread | None = SteadyThread(
            "doorbell", self._run, most_pause_s=min(OUTAGE_PAUSE_S, every_s)
        )
        self.is_up = True
        """Whether Redis answered last time."""

    def start(self) -> None:
        """Start the thread."""
        if self.thread is not None:
            self.thread.start()

    def stop(self) -> None:
        """End the thread; one that hangs in an outage is left behind."""
        self._is_stopping = True
        self._awake.set()
        if self.thread is not None:
            self.thread.join(timeout=2)

    def wake(self) -> None:
        """Look for tasks to ring for, now. Never waits, never fails; call it after the commit."""
        self._awake.set()

    def look(self) -> int:
        """Ring for what nobody has taken up, and return for how many tasks.

        Raises:
            DatabaseUnavailableError, BellError: If the database or Redis is away; the next look tries again.
        """
        with self._sessions.begin() as session:
            task_ids = queue.due_to_ring(session, self._every_s, limit=BATCH)
        for task_id in task_ids:
            failpoint("ring.before_send")
            self._bell.ring(task_id)
        return len(task_ids)

    def _run(self) -> None:
        while not self._is_stopping:
            self._awake.clear()
            try:
                self.look()
                self._bell.check()
                self.is_up = True
            except DatabaseUnavailableError:
                self._pause()
            except BellError as error:
                self.is_up = False
                log.warning("doorbell_unheard", reason=str(error))
                self._pause()
            self._awake.wait(self._every_s)

    def _pause(self) -> None:
        if not self._is_stopping:
            time.sleep(min(OUTAGE_PAUSE_S, self._every_s))
