"""Standard output and error that may be closed, full, or of a narrow encoding: nothing written there stops a process.

`ready_streams` goes first in a process. Logs go through `registry.log_lines`, which drops what cannot be written.
"""

import atexit
import codecs
import os
import sys
from contextlib import suppress
from typing import TextIO

from registry.log_lines import LOG_LINES

PLAIN_FORMS = str.maketrans(
    {
        "█": "#",
        "━": "-",
        "─": "-",
        "┃": "|",
        "│": "|",
        "·": ".",
        "•": "*",
        "…": "...",
        "≥": ">=",
        "≤": "<=",
        "×": "x",  # noqa: RUF001
        "→": "->",
        "–": "-",  # noqa: RUF001
        "—": "-",
        "‘": "'",  # noqa: RUF001
        "’": "'",  # noqa: RUF001
        "“": '"',
        "”": '"',
    }
)
"""What stands for signs of ours where an encoding lacks them."""
_ERRORS = "filopodia_plain"


def ready_streams() -> None:
    """Make the standard streams of this process harmless: open, able to write any letter, quiet at the end.

    A closed one is replaced by nothing, `/dev/null`. Otherwise the next file that is opened, a database's lock or a
    client's connection, would take its number, and what children write to their standard error would end up there.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is this one.
            os.open(os.devnull, os.O_RDWR)
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 (as long as we live)
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    codecs.register_error(_ERRORS, _plain_form)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=_ERRORS)
    atexit.register(settle)


def settle() -> OSError | None:
    """Write what waits to be written, drop what cannot be, and return why if that is standard output.

    At the end of a process Python would complain about it, and change the exit code to 120. Waits for the log a while.
    """
    if LOG_LINES.settle():
        _flush(sys.stderr)
    return _flush(sys.stdout)


def _flush(stream: TextIO) -> OSError | None:
    try:
        stream.flush()
    except ValueError:  # closed by somebody
        return None
    except OSError as error:
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
            stream.flush()
        return error
    return None


def _plain_form(error: UnicodeError) -> tuple[str | bytes, int]:
    r"""Return what stands for letters an encoding lacks: something alike for signs of ours, `\xfc` for others.

    Example:
        >>> codecs.register_error("plain", _plain_form)
        >>> "██ ≥ Küken".encode("ascii", "plain")
        b'## >= K\\xfcken'
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end].translate(PLAIN_FORMS)
    return letters.encode("ascii", "backslashreplace").decode("ascii"), error.end
