import json
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
