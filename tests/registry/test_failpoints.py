import errno
import subprocess
import sys

import pytest

from registry.failpoints import VARIABLE, failpoint


@pytest.fixture
def arm(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path))

    def arm(name, text):
        (tmp_path / name).write_text(text)

    return arm


def test_does_nothing_unless_armed(arm, monkeypatch):
    failpoint("here")
    arm("elsewhere", "full")
    failpoint("here")
    monkeypatch.delenv(VARIABLE)
    failpoint("elsewhere")


def test_strikes_once_at_the_time_named(arm):
    arm("here", "full 3")
    failpoint("here")
    failpoint("here")
    with pytest.raises(OSError, match="No space") as caught:
        failpoint("here")
    assert caught.value.errno == errno.ENOSPC
    failpoint("here")


def test_kills_the_process(arm):
    arm("here", "kill")
    code = "from registry.failpoints import failpoint; failpoint('here'); print('alive')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (-9, "")
    again = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert again.stdout == "alive\n"
