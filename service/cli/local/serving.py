"""`filopodia serve` and `filopodia worker`: the service, or a worker, in this process."""

import gc
import importlib
import os
import sys
from pathlib import Path
from typing import Annotated

import typer


def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; 127.0.0.1 unless set.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port; 8000 unless set.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Data directory; filopodia-data unless set.")
    ] = None,
) -> None:
    """Run the service: database, worker and HTTP in one command. Stops on Ctrl-C or SIGTERM.

    Every other setting is an environment variable, listed in .env.example.
    """
    given = {"FILOPODIA_HOST": host, "FILOPODIA_PORT": port, "FILOPODIA_DATA_DIR": data}
    os.environ.update({name: str(value) for name, value in given.items() if value is not None})
    # Threads of torch that spin while they wait starve the learn process's, which share the processor. Read at load.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Until all is loaded: looking again and again through what the libraries make takes a second of the start.
    gc.disable()
    # Loaded by name, and only here: no other command should wait for SQLAlchemy.
    importlib.import_module("service.main").main()


def worker(
    data: Annotated[
        Path | None, typer.Option(help="Data directory; filopodia-data unless set.")
    ] = None,
) -> None:
    """Run a worker that learns tasks: on Celery with REDIS_URL, else polling the database of DATABASE_URL.

    A worker takes the GPU that CUDA_VISIBLE_DEVICES gives it: run one for each. Stops on Ctrl-C or SIGTERM, and what it
    was learning goes on elsewhere from its last checkpoint.
    """
    if data is not None:
        os.environ["FILOPODIA_DATA_DIR"] = str(data)
    # In the place of this process, which signals are then meant for; and the service's code imports no worker's.
    os.execv(sys.executable, [sys.executable, "-m", "worker"])
