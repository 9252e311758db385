"""The trees in docs/data.md are read as the page says."""

import re
from pathlib import Path, PurePosixPath

import pytest

from service.layout.errors import LayoutError
from service.layout.layouts import Entry
from service.layout.names import EVAL
from service.layout.reading import read_layout

PAGE = (Path(__file__).parents[2] / "docs/data.md").read_text("utf-8")
TREES = re.findall(r"^```tree\n(.*?)^→ (.*?)\n```$", PAGE, re.MULTILINE | re.DOTALL)


def entries(tree):
    """Return the files of a tree, without its outermost folder; a table's rows stand behind its name."""
    above, found = [], []
    for line in tree.splitlines()[1:]:
        depth = (len(line) - len(line.lstrip())) // 4
        name, _, rows = line.strip().partition(": ")
        above = [*above[: depth - 1], name.rstrip("/")]
        if not name.endswith("/"):
            path = PurePosixPath(*above)
            found.append(Entry(path, rows.replace(" / ", "\n").encode()))
    return found


def said(layout):
    """Return what a layout reads like, in the words of the page."""
    classes = []
    for label, counts in layout.classes.items():
        kept_out = f" ({counts[EVAL]} kept out)" if counts[EVAL] else ""
        classes.append(f"{label} {counts.total()}{kept_out}")
    parts = [", ".join(classes)]
    if layout.left_out:
        parts.append("left out: " + ", ".join(str(item.path) for item in layout.left_out))
    return "; ".join(parts + ["asks"] * layout.is_guess)


def test_there_are_trees():
    assert len(TREES) >= 9


@pytest.mark.parametrize(("tree", "outcome"), TREES, ids=[tree.split("/")[0] for tree, _ in TREES])
def test_a_tree_is_read_as_the_page_says(tree, outcome):
    found = entries(tree)
    if outcome.startswith("refused: "):
        with pytest.raises(LayoutError, match=re.escape(outcome.removeprefix("refused: "))):
            read_layout(found)
        return
    assert said(read_layout(found)) == outcome
