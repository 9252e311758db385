"""What the server does about Python's garbage collector, in a process of its own, which it changes for good."""

import json
import subprocess
import sys

COLLECTOR = """
import gc, json
gc.disable()
import service.app
from service.server import keep_what_is_loaded
n_loaded = len(gc.get_objects())
keep_what_is_loaded()
print(json.dumps([n_loaded, len(gc.get_objects()), gc.isenabled()]))
"""


def test_what_is_loaded_is_never_looked_through_again():
    ran = subprocess.run(
        [sys.executable, "-c", COLLECTOR], capture_output=True, text=True, check=True
    )
    n_loaded, n_looked_through, is_collecting = json.loads(ran.stdout)
    assert n_loaded > 100_000
    assert n_looked_through < n_loaded / 100
    assert is_collecting
