"""What memory this process holds, and giving back what it does not need while it waits, as far as Linux helps."""

import ctypes
import gc
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import torch

from registry.postgres.lifeline import libc

PROC = Path("/proc/self")
MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ \S+\s+(/.*)")
"""First line of a mapping in `smaps`: its addresses, what is allowed there, and the file."""
MADV_DONTNEED = 4
"""From `asm-generic/mman-common.h`."""


def own_bytes() -> int:
    """Return the memory that is this process's own, without the files that it has mapped; 0 if nobody says."""
    with suppress(OSError, AttributeError):
        found = re.search(r"^RssAnon:\s+(\d+) kB", (PROC / "status").read_text(), re.MULTILINE)
        return int(found[1]) << 10 if found else 0
    return 0


def give_back() -> None:
    """Return what nothing uses any more: torch keeps memory of the GPU, and glibc ours."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    with suppress(AttributeError):  # another C library
        libc().malloc_trim(ctypes.c_size_t(0))


def let_go_of_files() -> None:
    """Count the code of libraries no longer as ours: the system keeps it as a cache, and maps it again when it runs."""
    with suppress(OSError, AttributeError):
        for start, size in _unchanged_files((PROC / "smaps").read_text()):
            libc().madvise(ctypes.c_void_p(start), ctypes.c_size_t(size), MADV_DONTNEED)


def _unchanged_files(smaps: str) -> Iterator[tuple[int, int]]:
    """Yield address and size of each private mapping of a file that is not writable and holds no byte of our own."""
    where: tuple[int, int] | None = None
    for line in smaps.splitlines():
        if found := MAPPING.fullmatch(line):
            start, end = int(found[1], 16), int(found[2], 16)
            where = (start, end - start) if re.fullmatch("r-.p", found[3]) else None
        elif line.startswith("Anonymous:"):
            if where is not None and int(line.split()[1]) == 0:
                yield where
            where = None
