"""What the confusion page shows of many classes."""

from registry.classes import PLAIN
from registry.confusions import counted
from service.dashboard.confusion_view import MOST_CLASSES, MOST_PAIRS, confusion_page
from service.use_cases.confusion_views import Found

MANY = [f"class {i}" for i in range(1000)]


def of(confusion, classes, label="", said=None):
    found = Found(counted(classes, {"1": confusion}, {}, said or {}), PLAIN, "lrn")
    return confusion_page("birds", 3, found, label, label)


def test_a_small_matrix_has_every_class_and_says_where_too_few_tell():
    page = of({"heron": {"heron": 30, "egret": 10}, "egret": {"egret": 2}}, ["heron", "egret"])
    assert (page.columns, page.is_cut) == (["heron", "egret"], False)
    heron, egret = page.rows
    assert [(cell.n, cell.level, cell.is_right) for cell in heron.cells] == [
        (30, 4, True),
        (10, 2, False),
    ]
    assert (heron.is_too_few, egret.is_too_few) == (False, True)
    assert heron.cells[1].title == "10 of 40 images of heron answered egret"


def test_of_1000_classes_the_most_confused_ones_make_the_matrix():
    confusion = {
        MANY[i]: {MANY[i]: 20, MANY[(i + 1) % 1000]: 1 + (i == 500) * 9} for i in range(1000)
    }
    page = of(confusion, MANY)
    assert len(page.columns) <= MOST_CLASSES < page.n_classes
    assert page.is_cut
    assert len(page.pairs) == MOST_PAIRS
    assert page.n_pairs == 1000
    assert (page.pairs[0].true, page.pairs[0].n) == ("class 500", 10)
    assert {"class 500", "class 501"} <= set(page.columns)
    row = page.rows[page.columns.index("class 500")]
    assert row.n_elsewhere == 0


def test_one_class_stands_with_those_it_is_confused_with():
    confusion = {MANY[i]: {MANY[i]: 20, MANY[(i + 1) % 1000]: 1} for i in range(1000)}
    page = of(confusion, MANY, "class 7")
    assert page.columns == ["class 6", "class 7", "class 8"]
    assert {(pair.true, pair.answered) for pair in page.pairs} == {
        ("class 6", "class 7"),
        ("class 7", "class 8"),
    }
    assert page.rows[2].n_elsewhere == 1
    nobody = of(confusion, MANY, "nobody")
    assert (nobody.is_unknown, nobody.pairs, nobody.rows) == (True, [], [])


def test_what_people_said_is_counted_apart():
    said = {("heron", "heron"): 5, ("heron", "egret"): 2}
    page = of({}, ["heron", "egret"], said=said)
    assert (page.n, page.n_said, page.n_said_right) == (0, 7, 5)
    assert [(pair.n, pair.n_said, pair.share) for pair in page.pairs] == [(0, 2, None)]
