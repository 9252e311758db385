"""Text of others on its way to a terminal, which takes some characters for commands."""

import re

_COMMANDS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]"
)
"""Controls but tab and line feed, escape sequences among them, and what turns the direction of text around."""


def harmless(text: str) -> str:
    r"""Return a text with a sign in the place of each character that a terminal would obey.

    Example:
        >>> harmless("a\x1b[2Jb\u202ec")
        'a\ufffd[2Jb\ufffdc'
    """
    return _COMMANDS.sub("\ufffd", text)


def escaped(json_text: str) -> str:
    r"""Return JSON with those characters in its strings written by their numbers: the same JSON.

    Example:
        >>> escaped('"a\u202eb"')
        '"a\\u202eb"'
    """
    return _COMMANDS.sub(lambda found: f"\\u{ord(found[0]):04x}", json_text)
