"""The memory of a learn process."""

import subprocess
import sys

from worker.memory import _unchanged_files, own_bytes

SMAPS = """\
55d0c0e00000-55d0c0e02000 r--p 00000000 08:01 131 /usr/lib/lib one.so
Rss:                   8 kB
Anonymous:             0 kB
55d0c0e02000-55d0c0e04000 r--p 00002000 08:01 131 /usr/lib/lib one.so
Rss:                   8 kB
Anonymous:             4 kB
55d0c0e04000-55d0c0e06000 rw-p 00004000 08:01 131 /usr/lib/lib one.so
Anonymous:             0 kB
7f0000000000-7f0000001000 r-xs 00000000 08:01 132 /shared
Anonymous:             0 kB
7f0000002000-7f0000005000 r-xp 00000000 08:01 133 /usr/lib/two.so
Anonymous:             0 kB
7f0000008000-7f0000009000 r-xp 00000000 00:00 0 [vdso]
Anonymous:             0 kB
7f000000a000-7f000000b000 rw-p 00000000 00:00 0
Anonymous:             0 kB
"""
LET_GO = """
import re, torch
from worker import memory

def files():
    return int(re.search(r"RssFile:\\s+(\\d+)", open("/proc/self/status").read())[1]) >> 10

numbers = torch.arange(6.0).reshape(2, 3)
before, own = files(), memory.own_bytes()
memory.give_back()
memory.let_go_of_files()
print(before, files(), own >> 20, memory.own_bytes() >> 20)
print((numbers @ numbers.T).tolist(), torch.linalg.eigh(torch.eye(3)).eigenvalues.tolist())
"""


def test_only_files_that_nobody_wrote_to_are_let_go():
    assert list(_unchanged_files(SMAPS)) == [
        (0x55D0C0E00000, 0x2000),
        (0x7F0000002000, 0x3000),
    ]


def test_libraries_are_let_go_and_work_as_before():
    printed = subprocess.check_output([sys.executable, "-c", LET_GO], text=True).splitlines()
    before, after, own, own_after = map(int, printed[0].split())
    assert after < before / 2
    assert own_after <= own + 8
    assert printed[1] == "[[5.0, 14.0], [14.0, 50.0]] [1.0, 1.0, 1.0]"


def test_what_is_our_own_grows_with_what_we_hold():
    before = own_bytes()
    held = bytearray(b"x" * (64 << 20))
    assert own_bytes() - before > (48 << 20)
    del held
