"""The services of the compose file as one project, driven through Docker's command line."""

import json
import os
import subprocess
import time
from typing import Any

from service.client import Filopodia

PROJECT = "filopodia-compose-test"
LASTING = ("api", "worker", "postgres", "redis")
READY_S = 300.0


class Composition:
    """One run of the compose file, on a port and under a name of its own.

    Args:
        command: `docker compose`, or `docker-compose`.
        port: On this machine, for the service.
    """

    def __init__(self, command: list[str], port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._command = [*command, "--project-name", PROJECT]
        self._environment = {
            "FILOPODIA_IMAGE": "filopodia:compose-test",
            **os.environ,
            "FILOPODIA_PUBLISH": f"127.0.0.1:{port}",
        }
        self.image = self._environment["FILOPODIA_IMAGE"]

    def run(self, *arguments: str) -> str:
        """Run a command of compose and return what it prints.

        Raises:
            subprocess.CalledProcessError: If it fails.
        """
        return output(*self._command, *arguments, environment=self._environment)

    def up(self) -> None:
        """Start everything, and wait for the health checks.

        Raises:
            TimeoutError: If a service does not become healthy.
        """
        self.run("up", "--detach")
        deadline = time.monotonic() + READY_S
        for service in LASTING:
            while self.inspect(service)["State"]["Health"]["Status"] != "healthy":
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{service} is not healthy:\n{self.run('logs', service)}")
                time.sleep(1)

    def container(self, service: str) -> str:
        """Return the id of the container of a service."""
        return self.run("ps", "--all", "--quiet", service).split()[0]

    def inspect(self, service: str) -> dict[str, Any]:
        """Return what Docker knows of the container of a service."""
        (found,) = json.loads(output("docker", "inspect", self.container(service)))
        return dict(found)

    def inside(self, service: str, script: str) -> str:
        """Run a shell script in the container of a service and return what it prints."""
        return self.run("exec", "-T", service, "sh", "-c", script)

    def processes(self, service: str, column: str) -> list[str]:
        """Return a column of `ps` for every process in the container of a service."""
        lines = output("docker", "top", self.container(service), "-eo", f"pid,{column}")
        return [line.split(None, 1)[1] for line in lines.splitlines()[1:]]

    def client(self) -> Filopodia:
        """Return a client with the first admin key."""
        return Filopodia(self.url, self.inside("api", "cat /data/admin.key").strip())


def output(*command: str, environment: dict[str, str] | None = None) -> str:
    """Run a command and return what it prints.

    Raises:
        subprocess.CalledProcessError: If it fails.
    """
    ran = subprocess.run(command, check=True, env=environment, capture_output=True, text=True)
    return ran.stdout
