"""A doorbell that rings through Celery and Redis."""

from celery import Celery

from registry.doorbell import Bell, Sweeper, celery_settings
from registry.postgres.database import Sessions


def make_sweeper(redis_url: str, session_factory: Sessions, *, every_s: float) -> Sweeper:
    """Build what rings for tasks that nobody has taken up. Starts nothing."""
    app = Celery("filopodia", set_as_current=False)
    app.conf.update(celery_settings(redis_url))
    return Sweeper(session_factory, Bell(app, redis_url), every_s=every_s)
