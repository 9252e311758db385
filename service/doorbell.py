"""The service's end of the doorbell: a thread that tells workers of new tasks. Requests never wait for Redis."""

import importlib
from typing import Protocol

from registry.loops import SteadyThread
from registry.postgres.database import Sessions


class Doorbell(Protocol):
    """What those who add or free tasks need."""

    thread: SteadyThread | None
    """What rings; None where nobody does."""

    @property
    def is_up(self) -> bool | None:
        """Whether rings are heard; None where nobody rings."""

    def start(self) -> None:
        """Begin to ring."""

    def stop(self) -> None:
        """Ring no more."""

    def wake(self) -> None:
        """Look for tasks to ring for, now. Never waits, never fails; call it after the commit."""


class NoDoorbell:
    """For workers that poll the database."""

    thread: SteadyThread | None = None
    is_up: bool | None = None

    def start(self) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""

    def wake(self) -> None:
        """Do nothing: they look by themselves."""


def make_doorbell(redis_url: str | None, session_factory: Sessions, *, every_s: float) -> Doorbell:
    """Build what rings through Redis, or, without one, does nothing. Starts nothing."""
    if redis_url is None:
        return NoDoorbell()
    # Loaded by name, and only here: nobody without Redis is to wait for Celery.
    ringing = importlib.import_module("service.ringing")
    doorbell: Doorbell = ringing.make_sweeper(redis_url, session_factory, every_s=every_s)
    return doorbell
