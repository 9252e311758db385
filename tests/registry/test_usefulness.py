import pytest

from registry.usefulness import WORTH, reason_of


def top(*scored):
    return [{"label": label, "score": score} for label, score in scored]


@pytest.mark.parametrize(
    ("answer", "code", "usefulness"),
    [
        ({"top": top(("heron", 0.5), ("stork", 0.45))}, "between", 0.95),
        ({"top": top(("heron", 0.99), ("stork", 0.01))}, "sure", 0.02),
        # Only the best class was asked for: the second has at most what is left.
        ({"top": top(("heron", 0.6))}, "unsure", 0.8),
        ({"top": top(("heron", 0.95))}, "sure", 0.1),
        ({"top": top(("heron", 0.4))}, "unsure", 1.0),
        ({"top": top(("heron", 1.0)), "novelty": 0.97, "is_known": False}, "unknown", 0.97),
        # A learner may be told to answer "unknown" early: it is worth a look all the same.
        ({"top": top(("heron", 1.0)), "novelty": 0.2, "is_known": False}, "unknown", WORTH),
        ({"top": top(("heron", 0.9)), "is_known": False, "below": 0.95}, "below", WORTH),
        ({"top": top(("heron", 0.3)), "is_known": False, "below": 0.95}, "unsure", 1.0),
        (
            {"top": top(("heron", 0.4), ("stork", 0.05)), "is_known": False, "below": 0.95},
            "between",
            0.65,
        ),
        ({"top": top(("heron", 0.9), ("stork", 0.1)), "without": "stork"}, "synapse", 0.8),
        ({"top": top(("heron", 0.9), ("stork", 0.1)), "other_label": "stork"}, "versions", 0.9),
        # The reason that weighs most is the one that is told.
        (
            {"top": top(("heron", 0.9), ("stork", 0.1)), "other_label": "ibis", "without": "stork"},
            "versions",
            0.9,
        ),
    ],
)
def test_the_reason_that_weighs_most(answer, code, usefulness):
    reason = reason_of(**{"novelty": 0.1, "is_known": True} | answer)
    assert (reason.code, reason.usefulness) == (code, pytest.approx(usefulness))


def test_a_reason_names_the_other_class_and_its_version():
    answer = top(("heron", 0.9), ("stork", 0.1))
    reason = reason_of(answer, novelty=0.1, is_known=True, other_label="ibis", other_version=3)
    assert (reason.label, reason.rival, reason.version) == ("heron", "ibis", 3)
