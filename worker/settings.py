"""Settings of a worker and its learn processes, read once from the environment."""

import os
import socket
from pathlib import Path

from pydantic import Field, SecretStr

from registry.settings import DEVICES, RegistrySettings

ENVIRONMENT_NAMES = {
    name: name.upper()
    for name in (
        "database_url",
        "database_password_file",
        "redis_url",
        "redis_password_file",
        "blob_url",
    )
}
"""Settings whose names in the environment have no prefix."""


class WorkerSettings(RegistrySettings):
    """What an operator can change about learning. Every field is `FILOPODIA_<NAME>` in the environment."""

    worker_id: str = Field(
        default_factory=lambda: f"worker-{socket.gethostname()}"[:64],
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
        description="1 to 64 letters of ASCII, digits, dots, dashes and underscores",
    )
    """Name of this worker, told apart from all others on the same database. Keep it from start to start: a worker
    takes up at once what it left when it was killed."""
    slots: int = Field(default=1, ge=1, le=64)
    """Tasks learned at the same time. More than one only helps if one does not fill the processor or GPU."""
    lease_s: float = Field(default=30.0, gt=0)
    """Seconds without a heartbeat after which another worker may take a task over."""
    heartbeat_s: float = Field(default=2.0, gt=0)
    """Seconds between two heartbeats; also how soon a cancel is noticed. Each is one small write."""
    poll_s: float = Field(default=0.5, gt=0)
    """Seconds between two looks for a task while there is none. What the database tells of is seen at once."""
    stop_grace_s: float = Field(default=15.0, ge=0)
    """Seconds a learn process gets to write its checkpoint and end after SIGTERM, before it is killed."""
    checkpoint_s: float = Field(default=30.0, gt=0)
    """Seconds of training between two checkpoints: what a killed learn process loses at most."""
    task_time_limit_s: float | None = Field(default=None, ge=0)
    """Longest an attempt may take, in seconds; then the task fails as `time-limit`. None: what fits the task, from two
    hours for a few images to 14 days; far more than is ever needed. 0: no limit."""
    progress_s: float = Field(default=0.5, ge=0)
    """Least seconds between two progress reports of one phase."""
    device: str = Field(
        default="auto", pattern="^(auto|cpu|cuda|cuda:[0-9]+)$", description=DEVICES
    )
    """Where tasks are learned; `auto` takes a GPU when there is one."""
    learn_standby: bool = True
    """Whether a learn process waits for each slot, with torch and a backbone loaded: a task begins at once instead of
    after seconds, for about 500 MB of memory."""
    learn_process_mb: int = Field(default=1500, ge=1)
    """Memory of its own in MB above which a learn process ends after its task instead of waiting for the next one.
    Large backbones need more."""
    torch_threads: int | None = Field(default=None, ge=1)
    """Threads of torch in a learn process. None leaves torch's own default, the number of cores."""
    backbone_weights: Path | None = None
    """Safetensors file, or folder of such, that timm backbones are loaded from instead of the hub. Backgrounds lie
    beside them."""

    def require_database_url(self) -> str:
        """Return the database's URL.

        Raises:
            ValueError: If there is none: only the service starts the embedded database.
        """
        url = self.database_dsn()
        if url is None:
            raise ValueError("A worker needs DATABASE_URL; filopodia serve starts one with it.")
        return url

    def environment(self) -> dict[str, str]:
        """Return this process's environment with these settings written into it, for a child process."""
        # OpenMP threads that spin while they wait starve the service's, which share the processor.
        environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}
        for name, value in self:
            if isinstance(value, SecretStr):
                value = value.get_secret_value()
            if value is not None:
                environment[ENVIRONMENT_NAMES.get(name, f"FILOPODIA_{name.upper()}")] = str(value)
        return environment
