"""No line of a document is above 120 characters, but for tables, fenced blocks and what cannot be broken."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WIDTH = 120


def documents():
    """Return every Markdown file that git knows."""
    listed = subprocess.check_output(["git", "ls-files", "-z", "*.md"], cwd=ROOT, text=True)
    return listed.rstrip("\0").split("\0")


def too_long(text):
    """Yield the numbers of lines that a writer could have broken, from 1."""
    in_fence = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip(" >").startswith("```"):
            in_fence = not in_fence
        is_table, is_one_word = line.startswith("|"), len(line.removesuffix(" \\").split()) == 1
        if len(line) > WIDTH and not (in_fence or is_table or is_one_word):
            yield number


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="only a clone knows its documents")
def test_every_line_of_every_document_can_be_read():
    found = [
        f"{name}:{number}"
        for name in documents()
        for number in too_long((ROOT / name).read_text("utf-8"))
    ]
    assert not found, f"above {WIDTH} characters: " + ", ".join(found)


def test_what_is_excepted():
    long = "word " * 30
    fenced = f"```text\n{long}\n```\n"

    assert list(too_long(f"short\n{long}\n- {long}\n    {long}\n")) == [2, 3, 4]
    assert list(too_long(fenced + f"| {long}|\n" + "    " + "x" * 200 + "\n")) == []
    assert list(too_long(fenced + long)) == [4]
