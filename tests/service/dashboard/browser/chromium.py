"""A headless Chromium, driven over its DevTools protocol: just enough to look at the dashboard's pages."""

import itertools
import json
import shutil
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import httpx
from websockets.sync.client import connect

from tests.waiting import PACE, wait_until

ELSEWHERE = "filopodia.test"
"""A name of this machine that browsers do not take for this machine: an origin that is not secure."""
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    f"--host-resolver-rules=MAP {ELSEWHERE} 127.0.0.1",
)
EXECUTABLE = shutil.which("chromium") or shutil.which("google-chrome")
NAVIGATED = (
    "Inspected target navigated or closed",
    "Cannot find default execution context",
    "Execution context was destroyed.",
)


class NavigatedError(Exception):
    """The page went elsewhere while it was asked something, and did not answer."""


class Chromium:
    """One browser with one page. Collects what the page logs, refused resources included."""

    def __init__(self, executable: str) -> None:
        self.messages: list[str] = []
        self._ids = itertools.count(1)
        with ExitStack() as stack:
            folder = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
            )
            process = subprocess.Popen(
                [executable, *FLAGS, f"--user-data-dir={folder}", "about:blank"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            stack.callback(process.wait)
            stack.callback(process.terminate)
            address = _page_address(Path(folder))
            self._socket = stack.enter_context(
                connect(address, max_size=None, proxy=None, ping_interval=None)
            )
            for domain in ("Page", "Runtime", "Log", "Network"):
                self.send(f"{domain}.enable")
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result."""
        number = next(self._ids)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv())
            if message.get("id") == number:
                if message.get("error", {}).get("message") in NAVIGATED:
                    raise NavigatedError
                assert "error" not in message, message
                return message["result"]
            self._note(message)

    def look(self, *, width: int, height: int = 900, dark: bool = False) -> None:
        """Set the size of the window and the colour scheme."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, url: str) -> None:
        """Load a page and wait until it is complete."""
        self.send("Page.navigate", url=url)
        self.wait_until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression in the page."""
        result = self.send("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def settle(self, expression: str) -> Any:
        """Return what a promise in the page comes to."""
        result = self.send(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait_until(self, condition: str) -> None:
        """Wait until a condition holds in the page, whichever page comes to be there."""

        def holds() -> bool:
            try:
                return bool(self.evaluate(condition))
            except NavigatedError:
                return False

        wait_until(holds)

    def _note(self, message: dict[str, Any]) -> None:
        parameters = message.get("params", {})
        if message["method"] == "Log.entryAdded":
            entry = parameters["entry"]
            if entry["level"] in {"warning", "error"}:
                self.messages.append(f"{entry['text']} {entry.get('url', '')}")
        elif message["method"] == "Runtime.exceptionThrown":
            self.messages.append(str(parameters["exceptionDetails"]))
        elif message["method"] == "Runtime.consoleAPICalled" and parameters["type"] == "error":
            self.messages.append(str(parameters["args"]))


def _page_address(folder: Path) -> str:
    port_file = folder / "DevToolsActivePort"

    def find() -> str | None:
        if not (port_file.exists() and port_file.read_text()):
            return None
        port = port_file.read_text().splitlines()[0]
        address = f"http://127.0.0.1:{port}/json/list"
        pages = httpx.get(address, trust_env=False, timeout=PACE.scaled(60)).json()
        page = next((page for page in pages if page["type"] == "page"), None)
        return str(page["webSocketDebuggerUrl"]) if page else None

    return str(wait_until(find))
