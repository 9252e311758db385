"""Celery's way to Redis, that a message which is none cannot stop.

Whoever reaches Redis can push anything into the queue. kombu lets what it cannot read end the whole worker, and with it
the attempt that is running.
"""

from typing import Any, cast

import structlog
from kombu.transport import TRANSPORT_ALIASES, redis
from kombu.transport.virtual import Empty

log = structlog.get_logger()


class Channel(redis.Channel):
    """A channel that drops what it cannot read."""

    def _brpop_read(self, **options: Any) -> bool:
        try:
            return cast("bool", super()._brpop_read(**options))  # type: ignore[no-untyped-call]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            log.warning("message_ignored", reason=repr(error)[:200])
            raise Empty from None


class Transport(redis.Transport):
    """kombu's Redis transport with that channel."""

    Channel = Channel


def use_sturdy_transport() -> None:
    """Let `redis://` stand for this transport in this process."""
    TRANSPORT_ALIASES["redis"] = f"{__name__}:Transport"
