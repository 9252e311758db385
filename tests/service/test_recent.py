"""What was worked out lately."""

from service.recent import Recent


def test_what_was_wanted_longest_ago_goes_first():
    recent = Recent(2)
    recent.keep("a", 1)
    recent.keep("b", 2)
    assert recent.find("a") == 1
    recent.keep("c", 3)
    assert (recent.find("a"), recent.find("b"), recent.find("c")) == (1, None, 3)
    assert len(recent) == 2


def test_a_value_is_replaced():
    recent = Recent(1)
    recent.keep("a", 1)
    recent.keep("a", 2)
    assert recent.find("a") == 2
