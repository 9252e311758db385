"""Rules: which answers and ends of tasks somebody wants to hear of."""

import pytest

from registry.notices import Rule, without
from registry.statuses import TaskStatus

HERON = {"label": "heron", "score": 0.8, "known": True}
UNKNOWN = {"label": "egret", "score": 0.3, "known": False}
CHANGED = {**HERON, "route": {"without": {"label": "egret", "score": 0.5}}}
SAME = {**HERON, "route": {"without": {"label": "heron", "score": 0.5}}}


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        ({}, [HERON, UNKNOWN, CHANGED, SAME]),
        ({"labels": ["egret"]}, [UNKNOWN]),
        ({"labels": ["bittern", "heron"]}, [HERON, CHANGED, SAME]),
        ({"min_score": 0.8}, [HERON, CHANGED, SAME]),
        ({"max_score": 0.8}, [UNKNOWN]),
        ({"known": False}, [UNKNOWN]),
        ({"known": True}, [HERON, CHANGED, SAME]),
        ({"disagrees": True}, [CHANGED]),
        ({"labels": ["heron"], "max_score": 0.5}, []),
    ],
)
def test_a_rule_wants_these_answers(rule, wanted):
    found = [
        answer
        for answer in (HERON, UNKNOWN, CHANGED, SAME)
        if Rule.of(rule).wants_answer(answer, answer["label"])
    ]
    assert found == wanted


def test_a_class_is_wanted_by_its_name_and_by_its_label():
    assert Rule(labels=("grey heron",)).wants_answer(HERON, "grey heron")
    assert Rule(labels=("heron",)).wants_answer(HERON, "grey heron")
    assert not Rule(labels=("egret",)).wants_answer(HERON, "grey heron")


def test_an_image_that_was_not_answered_is_never_wanted():
    assert not Rule().wants_answer({"problem": {"code": "image-corrupt"}}, "None")


def test_a_rule_wants_these_ends():
    assert Rule().wants_end(TaskStatus.CANCELLED)
    some = Rule.of({"statuses": ["failed", "held"]})
    assert [status for status in TaskStatus if some.wants_end(status)] == ["held", "failed"]


def test_what_is_stored_says_the_rule_again():
    rule = Rule(labels=("heron",), min_score=0.5, known=False, statuses=("held",), min_images=9)
    assert Rule.of(rule.stored()) == rule
    assert Rule().stored() == {}


def test_a_newer_release_s_part_of_a_rule_does_no_harm():
    assert Rule.of({"labels": ["heron"], "moon": "full"}) == Rule(labels=("heron",))


def test_an_answer_that_the_network_alone_gives_too_is_no_disagreement():
    assert (without(CHANGED), without(SAME), without(HERON)) == ("egret", None, None)
