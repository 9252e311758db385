import json
import subprocess
import sys

CODE = """
import structlog
from worker.logs import configure_logging
configure_logging()
log = structlog.get_logger()
log.info("task_started", task_id="tsk_1")
password = "hunter2"
try:
    1 / 0
except ZeroDivisionError as error:
    log.error("attempt_failed", exc_info=error)
"""


def test_writes_json_lines_to_stderr_and_no_local_variables():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    first, second = (json.loads(line) for line in done.stderr.splitlines())
    assert (first["event"], first["task_id"], first["level"]) == ("task_started", "tsk_1", "info")
    assert first["timestamp"].endswith("Z")
    assert second["exception"][0]["exc_type"] == "ZeroDivisionError"
    assert "hunter2" not in done.stderr
