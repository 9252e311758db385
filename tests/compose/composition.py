"""The services of the compose file as one project, driven through Docker's command line."""

import json
import os
import subprocess
import time
from typing import Any

from service.client import Filopodia, Retries

PROJECT = "filopodia-compose-test"
LASTING = ("proxy", "api", "worker", "postgres", "redis")
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

    def up(self, *, services: int = 1) -> None:
        """Start everything, with so many containers of the service, and wait for the health checks.

        Raises:
            TimeoutError: If a container does not become healthy.
        """
        self.run("up", "--detach", "--no-recreate", "--scale", f"api={services}")
        deadline = time.monotonic() + READY_S
        for service in LASTING:
            while not all(
                described["State"].get("Health", {}).get("Status") == "healthy"
                for described in self.inspect_all(service)
            ):
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{service} is not healthy:\n{self.run('logs', service)}")
                time.sleep(1)

    def containers(self, service: str) -> list[str]:
        """Return the ids of the containers of a service."""
        return self.run("ps", "--all", "--quiet", service).split()

    def container(self, service: str) -> str:
        """Return the id of the first container of a service."""
        return self.containers(service)[0]

    def inspect(self, service: str) -> dict[str, Any]:
        """Return what Docker knows of the first container of a service."""
        return self.inspect_all(service)[0]

    def inspect_all(self, service: str) -> list[dict[str, Any]]:
        """Return what Docker knows of each container of a service."""
        return list(json.loads(output("docker", "inspect", *self.containers(service))))

    def inside(self, service: str, script: str) -> str:
        """Run a shell script in the container of a service and return what it prints."""
        return self.run("exec", "-T", service, "sh", "-c", script)

    def processes(self, service: str, column: str) -> list[str]:
        """Return a column of `ps` for every process in the container of a service."""
        lines = output("docker", "top", self.container(service), "-eo", f"pid,{column}")
        return [line.split(None, 1)[1] for line in lines.splitlines()[1:]]

    def client(self, retries: Retries | None = None) -> Filopodia:
        """Return a client with the first admin key."""
        key = self.inside("api", "cat /data/admin.key").strip()
        return Filopodia(self.url, key, retries=retries)


def output(*command: str, environment: dict[str, str] | None = None) -> str:
    """Run a command and return what it prints.

    Raises:
        subprocess.CalledProcessError: If it fails.
    """
    ran = subprocess.run(command, check=True, env=environment, capture_output=True, text=True)
    return ran.stdout
