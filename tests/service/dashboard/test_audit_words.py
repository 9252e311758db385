"""Every change that the log knows is told in a sentence, and leads to where it can be seen."""

import ast
import re
from pathlib import Path

import pytest

from registry import audit
from service.dashboard.audit_words import SENTENCES, address, sentence
from tests.factories import make_learner

ROOT = Path(__file__).parents[3]
NOTES = {"record", "change_task", "_change_task", "_act", "_noted"}
"""What is called with the name of an action."""


def actions():
    """Return the actions that the tree notes, read off the calls that do."""
    found = set()
    for folder in ("registry", "service"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_bytes())):
                if (
                    isinstance(node, ast.Call)
                    and getattr(node.func, "attr", getattr(node.func, "id", "")) in NOTES
                ):
                    texts = [one.value for one in node.args if isinstance(one, ast.Constant)]
                    found |= {one for one in texts if re.fullmatch(r"[a-z_]+\.[a-z_]+", str(one))}
    assert len(found) > 20
    return found


def test_every_action_has_its_sentence():
    assert actions() == SENTENCES.keys()


@pytest.mark.parametrize("action", SENTENCES)
def test_a_sentence_bears_details_of_other_releases(action):
    for details in ({}, {"images": None, "classes": None, "before": None, "after": None}):
        assert "{" not in sentence(action, details)


@pytest.mark.parametrize(
    ("action", "details", "said"),
    [
        ("task.unlearn", {"tasks": [2], "classes": ["heron"]}, "asked to unlearn task 2 and heron"),
        ("task.correct", {"images": 1, "undoes": "tsk"}, "took a correction of 1 image back"),
        ("class.update", {"hidden": {"before": False, "after": True}}, "changed a class: hid it"),
        ("key.create", {"name": "camera", "role": "reader", "learners": ["birds"]},
         "made the key camera with the role reader, only for birds"),
    ],
)  # fmt: skip
def test_sentences_name_what_was_done(action, details, said):
    assert sentence(action, details) == said


def test_an_entry_leads_to_its_page_while_there_is_one(session, browser):
    make_learner(session, "birds")
    for learner in ("birds", "gone"):
        audit.record(session, None, "class.update", learner=learner, subject="a/b", details={})
    rows = audit.list_audit(session).items
    there = frozenset({"birds"})
    assert [address(row, there) for row in rows] == [
        None,
        "/admin/learners/birds/classes/a%2Fb",
    ]
    session.commit()
    html = browser.get("/admin/audit").text
    assert 'href="/admin/learners/birds/classes/a%2Fb">Look at it' in html
    assert "/admin/learners/gone" not in html
