"""A worker: `python -m worker`, or `filopodia worker`. Listens on Celery with `REDIS_URL`, else polls the database."""

import sys

import structlog
from pydantic import ValidationError

from registry.blobs import open_blob_store
from registry.errors import RegistryError
from registry.logs import configure_logging
from worker.celery_app import listen
from worker.local import run_alone
from worker.settings import WorkerSettings


def main() -> int:
    """Run the worker until `SIGTERM` or `SIGINT`. Returns the exit code: 1 if a setting is wrong."""
    configure_logging()
    try:
        settings = WorkerSettings()
        settings.require_database_url()
        open_blob_store(settings.blob_location)
        return run_alone(settings) if settings.redis_url is None else listen(settings)
    except (ValidationError, ValueError, RegistryError, OSError) as error:
        structlog.get_logger().error("not_started", reason=str(error))
        return 1


if __name__ == "__main__":
    sys.exit(main())
