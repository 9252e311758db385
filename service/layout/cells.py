"""Cells of tables that people open in spreadsheets: text that would be run as a formula is written so that it is not.

An apostrophe goes before what begins like a formula: at the start of a cell, and behind what programs of other
countries take for the start of a cell. It is dropped again where tables are read: what was written comes back.
"""

import re

_FORMULA = "=+\\-@\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b"
"""What formulas begin with, also in full width and small, as Japanese and Chinese programs take them."""
_BEGINS = rf"(?='*(?:[^\S\t\r\n]|\")*[{_FORMULA}])"
_RUNS = re.compile(rf"(^|[;\t\r\n]){_BEGINS}")
_WRITTEN = re.compile(rf"(^|[;\t\r\n])'{_BEGINS}")


def inert(text: str) -> str:
    """Return a text as it is written into a cell, which shows it and runs nothing.

    Example:
        >>> inert("=cmd()"), inert("heron; egret"), inert("x;-1"), inert("'+1")
        ("'=cmd()", 'heron; egret', "x;'-1", "''+1")
    """
    return _RUNS.sub(r"\1'", text)


def plain(cell: str) -> str:
    """Return the text that a cell holds: what `inert` was given.

    Example:
        >>> plain("'=cmd()"), plain("'tis"), plain("=1")
        ('=cmd()', "'tis", '=1')
    """
    return _WRITTEN.sub(r"\1", cell) if "'" in cell else cell


def legible(text: str) -> str:
    """Return a text as it is written into a cell that only `plain` reads: as it is, wherever that comes back.

    Example:
        >>> legible("=cmd()"), legible("'=cmd()")
        ('=cmd()', "''=cmd()")
    """
    return text if plain(text) == text else inert(text)
