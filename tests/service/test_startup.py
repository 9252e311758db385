"""A start as a person sees it, on a real terminal: greeted at once, told what is waited for, let in once, let go."""

import contextlib
import io
import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import httpx
import pytest

from service.startup import GREETING, Startup
from tests.waiting import is_within, wait_until

ROWS_BEFORE = ("Loading the command line", "Loading PyTorch", "Waiting for the database")
SETTINGS = {"FILOPODIA_PORT": "0", "FILOPODIA_TORCH_THREADS": "1", "TERM": "xterm"}


class Terminal:
    """A program on a terminal of its own, and what it has written there."""

    def __init__(self, *command, **environment):
        self.text = ""
        ours, theirs = pty.openpty()
        self._ours = ours
        self.process = subprocess.Popen(
            [sys.executable, *command],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=os.environ | SETTINGS | environment,
            start_new_session=True,
        )
        os.close(theirs)

    def read(self, *, until="", timeout_s=240):
        """Wait until it has written something, or to its end, and return all it wrote."""
        started = time.monotonic()
        while not (until and re.search(until, self.text)):
            assert is_within(time.monotonic() - started, timeout_s), self.text
            if not select.select([self._ours], [], [], 1.0)[0]:
                continue
            try:
                part = os.read(self._ours, 65536)
            except OSError:  # nobody has it open any more
                part = b""
            if not part:
                break
            self.text += part.decode()
        return self.text

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        os.close(self._ours)


@pytest.fixture
def serve():
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="filopodia-first-"))

        def start(**environment):
            environment.setdefault("FILOPODIA_DATA_DIR", str(Path(folder) / "data"))
            command = ("-c", "from service.cli.entry import main; main()", "serve")
            terminal = Terminal(*command, **environment)
            stack.callback(terminal.close)
            return terminal

        yield start


def test_the_greeting_waits_for_no_package():
    program = (
        "import sys; from service.cli import entry; "
        "heavy = {'torch', 'typer', 'rich', 'sqlalchemy', 'pydantic', 'numpy', 'httpx'}; "
        "print(sorted(heavy & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_a_start_on_a_terminal_tells_how_it_goes_and_lets_one_browser_in(serve):
    terminal = serve()
    text = terminal.read(until=r"token=[\w-]{43}\r?\n[^$]*another link")
    assert text.startswith(GREETING)
    places = [text.index(row) for row in (*ROWS_BEFORE, "Loading what was learned", "Ready.")]
    assert places == sorted(places)
    assert '"event"' not in text, "a person reads no JSON"
    url, token = re.search(
        r"(http://127\.0\.0\.1:\d+)/admin/enter\?token=([\w-]{43})", text
    ).groups()
    with httpx.Client(base_url=url, headers={"Sec-Fetch-Site": "same-origin"}) as browser:
        entered = browser.post("/admin/enter", data={"token": token})
        assert entered.status_code == 303
        assert "admin" in browser.get("/admin").text
    assert (
        httpx.post(
            f"{url}/admin/enter", data={"token": token}, headers={"Sec-Fetch-Site": "none"}
        ).status_code
        == 401
    )
    terminal.process.send_signal(signal.SIGINT)
    end = terminal.read()
    assert end.rstrip().endswith("Stopped.")
    assert "Traceback" not in end
    assert terminal.process.wait() == 0


@pytest.mark.slow
def test_what_keeps_it_from_starting_is_one_sentence(serve):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        terminal = serve(FILOPODIA_PORT=str(taken.getsockname()[1]))
        text = terminal.read()
    assert terminal.process.wait() == 1
    last = text.splitlines()[-1]
    assert re.search(
        r"Nothing can listen on 127\.0\.0\.1:\d+ .*: stop what uses it, or set FILOPODIA_PORT\.$",
        last,
    )
    assert '"event"' not in text
    assert "Traceback" not in text


@pytest.mark.slow
def test_where_nobody_watches_it_logs_json_and_shows_no_link():
    with tempfile.TemporaryDirectory(prefix="filopodia-first-") as folder:
        environment = os.environ | SETTINGS | {"FILOPODIA_DATA_DIR": folder}
        command = [sys.executable, "-c", "from service.cli.entry import main; main()", "serve"]
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        lines = []
        reading = threading.Thread(target=lambda: lines.extend(process.stderr))
        reading.start()
        wait_until(
            lambda: any('"serving"' in line for line in lines) or process.poll() is not None, 240
        )
        assert process.poll() is None, lines
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == ""
        process.stdout.close()
        assert process.wait() == 0
        reading.join()
        process.stderr.close()
        assert all(isinstance(json.loads(line), dict) for line in lines)
        assert "token" not in "".join(lines)


class Screen(io.StringIO):
    """A stream that takes itself for a terminal of one encoding, or breaks."""

    encoding = "ascii"
    error = None

    def write(self, text):
        if self.error:
            raise self.error
        return super().write(text)


def test_a_step_that_fails_leaves_no_half_line(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    screen = Screen()
    with pytest.raises(OSError, match="no"), Startup(screen).step("Starting the database"):
        raise OSError("no")
    assert screen.getvalue().endswith("\r\x1b[K")


def test_a_terminal_that_cannot_go_back_gets_each_step_once(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    screen = Screen()
    with Startup(screen).step("Starting the database"):
        time.sleep(0.6)
    assert re.fullmatch(r"  Starting the database +\d+\.\d s\n", screen.getvalue())


@pytest.mark.parametrize("stream", [None, Screen()])
def test_the_log_can_tell_how_long_each_step_took_that_is_over(stream):
    startup = Startup(stream)
    with startup.step("Loading"), startup.step("Waiting"):
        assert startup.waited_s == {}
    assert list(startup.waited_s) == ["Waiting", "Loading"]
    assert 0 <= startup.waited_s["Waiting"] <= startup.waited_s["Loading"]


@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(28, "full"), ValueError("closed")])
def test_a_terminal_that_went_away_stops_nothing(error):
    screen = Screen()
    screen.error = error
    startup = Startup(screen)
    with startup.step("Loading"):
        startup.say("Grüße")


def test_odd_letters_are_written_as_far_as_the_terminal_can():
    screen = Screen()
    Startup(screen).say("in /home/Zoë")
    assert screen.getvalue() == "in /home/Zo\\xeb\n"
