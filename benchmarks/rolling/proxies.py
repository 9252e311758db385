"""nginx, HAProxy and Caddy with the very lines of docs/deployment.md, between what else a file needs."""

import os
import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.waiting import wait_until
from service.cli.local.demo_process import free_port

DOCUMENT = Path(__file__).parents[2] / "docs" / "deployment.md"
CHAPTER = "## Restarts behind a proxy"
BEHIND = ("10.0.0.1:8000", "10.0.0.2:8000")
"""The services in the document."""


@dataclass(frozen=True)
class Proxy:
    """A program that passes requests on."""

    name: str
    block: str
    """How its lines are marked in the document."""
    version: tuple[str, ...]
    """The command that tells its version."""
    command: tuple[str, ...]
    """The command that runs it in the foreground, but for the file of its configuration."""
    whole: Callable[[str, int, Path], str]
    """Makes a file of the lines, with a port to listen on and a folder of its own."""

    def told_version(self) -> str:
        """Return its version.

        Raises:
            FileNotFoundError: If it is not installed.
        """
        ran = subprocess.run(self.version, capture_output=True, text=True, check=True)
        match = re.search(r"\d+\.\d+[\w.+~-]*", ran.stdout + ran.stderr)
        return match.group() if match else "unknown"


def _nginx(lines: str, port: int, folder: Path) -> str:
    listening = lines.replace("server {\n", f"server {{\n    listen 127.0.0.1:{port};\n", 1)
    return f"""daemon off;
pid {folder}/pid;
error_log stderr;
events {{ worker_connections 512; }}
http {{
access_log off;
client_body_temp_path {folder}/bodies;
proxy_temp_path {folder}/answers;
{listening}
}}
"""


def _haproxy(lines: str, port: int, folder: Path) -> str:
    return f"""defaults
    mode http
    timeout connect 5s
    timeout client 120s
    timeout server 120s
frontend http
    bind 127.0.0.1:{port}
    default_backend filopodia
{lines}
"""


def _caddy(lines: str, port: int, folder: Path) -> str:
    site = lines.replace("example.org {", f"http://127.0.0.1:{port} {{", 1)
    return f"{{\n    admin off\n    storage file_system {folder}\n}}\n{site}\n"


PROXIES = {
    proxy.name: proxy
    for proxy in (
        Proxy("nginx", "nginx", ("nginx", "-v"), ("nginx", "-e", "stderr", "-c"), _nginx),
        Proxy("haproxy", "haproxy", ("haproxy", "-v"), ("haproxy", "-db", "-f"), _haproxy),
        Proxy(
            "caddy",
            "caddyfile",
            ("caddy", "version"),
            ("caddy", "run", "--adapter", "caddyfile", "--config"),
            _caddy,
        ),
    )
}


def documented_lines(block: str) -> str:
    """Return what the document says for a proxy."""
    _, _, chapter = DOCUMENT.read_text().partition(CHAPTER)
    lines, _, _ = chapter.partition(f"```{block}\n")[2].partition("```")
    if not all(address in lines for address in BEHIND):
        raise ValueError(f"{DOCUMENT.name} has no lines for {block} with both services.")
    return lines


@contextmanager
def running(proxy: Proxy, netlocs: Sequence[str], folder: Path) -> Iterator[str]:
    """Run a proxy before services; yields its URL."""
    lines = documented_lines(proxy.block)
    for documented, netloc in zip(BEHIND, netlocs, strict=True):
        lines = lines.replace(documented, netloc)
    port = free_port()
    file = folder / f"{proxy.name}.conf"
    file.write_text(proxy.whole(lines, port, folder))
    url = f"http://127.0.0.1:{port}"
    environment = {**os.environ, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    with (folder / f"{proxy.name}.log").open("ab") as log:
        process = subprocess.Popen(
            [*proxy.command, str(file)], stdout=log, stderr=log, env=environment
        )
    try:
        wait_until(lambda: process.poll() is not None or _answers(url))
        if process.poll() is not None:
            raise ChildProcessError((folder / f"{proxy.name}.log").read_text())
        yield url
    finally:
        process.terminate()
        process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/livez", trust_env=False).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False
