import ast
import json
import os
import subprocess
import sys

PROGRAM = """
import logging
import structlog
from registry.logs import configure_logging
configure_logging()
def fail(password="hunter2"):
    raise RuntimeError("no")
try:
    fail()
except RuntimeError:
    structlog.get_logger().exception("failed", request_id="r1")
    logging.getLogger("library").exception("also failed")
structlog.get_logger().info("line\\nbreak")
logging.getLogger("library").info("not shown")
"""


def test_logs_are_json_lines_without_local_variables():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["event"] for line in lines] == ["failed", "also failed", "line\nbreak"]
    assert lines[0]["request_id"] == "r1"
    assert lines[0]["exception"][0]["exc_type"] == "RuntimeError"
    assert "hunter2" not in done.stderr


WATCHED = """
import os, pty, sys
ours, theirs = pty.openpty()
os.dup2(theirs, 2)
import logging
import structlog
from registry.logs import configure_logging
configure_logging()
log = structlog.get_logger()
log.info("worker_started", worker_id="a")
log.info("version_served", learner="birds", version=3, seconds=0.1)
log.warning("checkpoint_ignored", reason="a\\x1b[2J\\nb")
logging.getLogger("library").warning("%s", "also\\x9bshown")
try:
    raise RuntimeError("no\\x07")
except RuntimeError:
    log.exception("failed")
from registry.streams import settle
settle()
os.write(2, b"END")
said = b""
while not said.endswith(b"END"):
    said += os.read(ours, 65536)
sys.stdout.write(ascii(said[:-3].decode()))
"""


def watched(**environment):
    environment = {"PATH": "/usr/bin", "TERM": "xterm", **environment}
    done = subprocess.run(
        [sys.executable, "-c", WATCHED],
        capture_output=True,
        text=True,
        check=True,
        env=environment | {"PYTHONPATH": ":".join(filter(None, sys.path))},
    )
    return ast.literal_eval(done.stdout).replace("\r\n", "\n")


def test_a_person_reads_few_lines_that_move_no_cursor():
    lines = watched().replace("\r\x1b[K", "").splitlines()
    assert lines[0].endswith(" birds answers with version 3")
    assert lines[1].endswith(r" warning: checkpoint ignored, reason a\x1b[2J\nb")
    assert lines[2].endswith(r" warning: also\x9bshown")
    assert lines[3].endswith(" error: failed")
    assert lines[-1] == r"  RuntimeError: no\x07"
    assert "\x1b" not in "".join(lines)


def test_a_terminal_gets_json_where_that_is_asked_for():
    lines = watched(FILOPODIA_LOG_FORMAT="json").splitlines()
    assert json.loads(lines[0])["event"] == "worker_started"


def test_a_file_gets_text_where_that_is_asked_for():
    environment = os.environ | {"FILOPODIA_LOG_FORMAT": "text"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stderr.splitlines()[0].endswith("error: failed, request_id r1")
    assert "line" not in done.stderr.splitlines()[0]
    assert "hunter2" not in done.stderr
    assert "\x1b" not in done.stderr
