"""A worker: `python -m worker`, or `filopodia worker`. Listens on Celery with `REDIS_URL`, else polls the database."""

import os
import sys

import structlog

from registry.blobs.opening import open_blob_store
from registry.environment import unknown_settings
from registry.errors import RegistryError
from registry.logs import configure_logging
from worker.celery_app import listen
from worker.local import run_alone
from worker.settings import WorkerSettings

log = structlog.get_logger()


def main() -> int:
    """Run the worker until `SIGTERM` or `SIGINT`. Returns the exit code: 1 if a setting is wrong."""
    configure_logging()
    try:
        settings = WorkerSettings.read()
        for sentence in unknown_settings(os.environ):
            log.warning("unknown_setting", reason=sentence)
        settings.require_database_url()
        open_blob_store(settings.blob_location)
        return run_alone(settings) if settings.redis_url is None else listen(settings)
    except (ValueError, RegistryError, OSError) as error:
        log.error("not_started", reason=str(error))
        return 1


if __name__ == "__main__":
    sys.exit(main())
