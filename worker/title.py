"""What the system shows as a process's command line: a learn process that waited shows there what it learns.

Linux only; elsewhere the command line stays as it was.
"""

import ctypes
from contextlib import suppress
from pathlib import Path

WAIT = "--wait"
ROOM = "." * 48
"""An argument that only keeps room for a task's id and a token."""
PROC = Path("/proc/self")
ARGUMENTS = 45
"""Which field of `stat` behind the name tells where the arguments begin; the next one tells where they end."""


class Title:
    """The last arguments of this process, from `--wait` on."""

    def __init__(self) -> None:
        """Find them."""
        self._address, self._waiting = 0, b""
        with suppress(OSError, ValueError, IndexError):
            fields = (PROC / "stat").read_text().rpartition(")")[2].split()
            start, end = (int(field) for field in fields[ARGUMENTS : ARGUMENTS + 2])
            shown = (PROC / "cmdline").read_bytes()
            position = shown.index(f"{WAIT}\0{ROOM}\0".encode())
            if start and end - start == len(shown):
                self._address, self._waiting = start + position, shown[position:]

    def show(self, *words: object) -> None:
        """Show these words instead; what was there before if there are none."""
        text = "".join(f"{word}\0" for word in words).encode() or self._waiting
        if self._address and len(text) <= len(self._waiting):
            ctypes.memmove(self._address, text.ljust(len(self._waiting), b"\0"), len(self._waiting))
