"""The files that CONTRIBUTING.md names are there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text("utf-8")


def named(text):
    """Return what stands in a text as a path below the project."""
    return {path for path in re.findall(r"`([\w./-]+)`", text) if "/" in path}


def test_every_file_that_a_recipe_names_exists():
    assert not [path for path in named(TEXT) if not (ROOT / path).exists()]
    assert len(named(TEXT)) >= 40


def test_the_five_questions_of_a_newcomer_have_a_recipe():
    for what in ("a strategy", "an endpoint", "a page of the dashboard", "a setting"):
        assert f"\n**{what}**: " in TEXT
    assert "\n**a status of a task**: " in TEXT
