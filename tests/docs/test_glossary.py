"""The glossary has one row a word."""

import re
from collections import Counter
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def words(text):
    """Return the first cell of every row of every table."""
    rows = re.findall(r"^\| (?!word |name )([^|]+) \|", text, re.MULTILINE)
    return [row.strip("`").strip() for row in rows]


def unclear(text):
    """Return words that have two rows, and rows that have two words."""
    found = words(text)
    return [word for word, n in Counter(found).items() if n > 1] + [w for w in found if "/" in w]


def test_a_word_has_one_row():
    text = (DOCS / "glossary.md").read_text("utf-8")
    assert not unclear(text)
    assert {"learner", "head", "classifier", "label", "artsy"} <= set(words(text))


def test_a_word_with_two_meanings_is_found():
    rows = (
        "| word | meaning |\n|---|---|\n| head | a version |\n| head | a layer |\n| a / b | two |\n"
    )
    assert unclear(rows) == ["head", "a / b"]
