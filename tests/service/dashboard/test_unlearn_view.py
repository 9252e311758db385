"""What the page that unlearns is told."""

import pytest

from models.strategies.catalog import CATALOG
from registry.errors import NothingWouldRemainError
from service.dashboard.unlearn_view import ABILITIES, going, unlearn_page


def test_every_ability_of_a_strategy_is_told():
    assert {one.unlearning for one in CATALOG} == ABILITIES.keys()


def test_it_shows_what_is_chosen(session, three):
    shown = unlearn_page(session, three, [2], ["heron"])
    assert [(one.title, one.is_chosen) for one in shown.tasks] == [
        ("crane", False),
        ("stork", True),
        ("heron and egret", False),
    ]
    assert [one.value for one in shown.classes if one.is_chosen] == ["heron"]
    assert (shown.chosen, shown.head, shown.n_classes) == ("task 2 and heron", 3, 4)


def test_it_counts_what_goes(session, three):
    goes = going(session, three, [], ["stork"])
    assert (goes.classes, goes.versions, goes.n_images) == (["stork"], [2, 3], 9)
    assert goes.is_live_erased
    assert goes.staying == ["heron", "egret", "crane"]


def test_everything_at_once_is_refused(session, three):
    with pytest.raises(NothingWouldRemainError):
        going(session, three, [1, 2, 3], [])
