"""Which reader a sentence is for: what only the API or only the command line has means nothing elsewhere."""

import re
from collections.abc import Sequence

_API = re.compile(
    r"`|/v1\b|\b(GET|POST|PUT|PATCH|DELETE) /|\bmode\b|\b[a-z]+_[a-z_]+\b"
    r"|\b(Retry-After|Idempotency-Key|If-Match|Content-Digest|Content-Type|content type|multipart|JSON|HTTP|URI)\b"
    r"|\b(field|header|body|cursor|alias|parameter|pointer)s?\b|\brequests?\b|\bpost (a|it|one|labelled)\b"
)
_COMMANDS = re.compile(r"(?<![\w-])--[a-z]|\bfilopodia [a-z]")


def speaks_api(sentence: str) -> bool:
    """Return whether a sentence names what only a client of the API has: fields, headers, paths, modes.

    Example:
        >>> speaks_api("Send `on_bad_image=skip`."), speaks_api("There is no task with this id.")
        (True, False)
    """
    return _API.search(sentence) is not None


def speaks_commands(sentence: str) -> bool:
    """Return whether a sentence names commands or options of the command line.

    Example:
        >>> speaks_commands("Add --skip-bad."), speaks_commands("A two--fold problem of filopodia.")
        (True, False)
    """
    return _COMMANDS.search(sentence) is not None


def listed(names: Sequence[object], most: int = 2) -> str:
    """Return names as a person says them: what a task brought tells more of it than its number.

    Args:
        names: What to say.
        most: How many are named where there are more than one more.

    Example:
        >>> listed([]), listed(["heron"]), listed(["heron", "egret", "stork"])
        ('', 'heron', 'heron, egret and stork')
        >>> listed(["heron", "egret", "stork", "crane", "ibis"])
        'heron, egret and 3 more'
    """
    said = [str(name) for name in names]
    if len(said) > most + 1:
        return f"{', '.join(said[:most])} and {len(said) - most} more"
    *first, last = said or [""]
    return f"{', '.join(first)} and {last}" if first else last
