"""The service's end of the doorbell: a thread that tells workers of new tasks. Requests never wait for Redis."""

from celery import Celery

from registry.doorbell import Bell, Doorbell, NoDoorbell, Sweeper, celery_settings
from registry.postgres.database import Sessions


def make_doorbell(redis_url: str | None, session_factory: Sessions, *, every_s: float) -> Doorbell:
    """Build what rings through Redis, or, without one, does nothing. Starts nothing."""
    if redis_url is None:
        return NoDoorbell()
    app = Celery("filopodia", set_as_current=False)
    app.conf.update(celery_settings(redis_url))
    return Sweeper(session_factory, Bell(app, redis_url), every_s=every_s)
