"""The demo's end: the counts are those of the answers, and what is chosen is said."""

import io

import numpy as np
import pytest
from rich.console import Console

from service.cli.local.demo_closing import SHOWN_DIGITS, Closing, show
from service.cli.local.demo_pictures import Picture

PIXELS = np.arange(32 * 32 * 3, dtype=np.uint16).reshape(32, 32, 3).astype(np.uint8)


def digit(label):
    return Picture(PIXELS, label, is_held_out=True)


def answer(label, *, known=True, fired=(), without=None):
    synapses = [
        {
            "task": task,
            "current": 0.3,
            "threshold": 0.25,
            "state": "functional" if task in fired else "silent",
            "can_fire": True,
        }
        for task in (1, 2)
    ]
    return {
        "index": 0,
        "filename": None,
        "label": label,
        "score": 0.9,
        "task": 1,
        "novelty": 0.5 if known else 1.0,
        "known": known,
        "top": [{"label": label, "score": 0.9}],
        "route": {"passes": 1 + len(fired), "synapses": synapses}
        | ({"without": {"label": without, "score": 0.4}} if fired else {}),
    }


DIGITS = [digit(label) for label in "12345"]
SILENT = [
    answer("1"),
    answer("2", known=False),
    answer("7"),
    answer("4"),
    answer("5"),
]
FIRED = [
    *SILENT[:2],
    answer("7", fired=(2,), without="9"),
    answer("4", fired=(1, 2), without="9"),
    answer("5", fired=(1,), without="5"),
]
UNTAUGHT = [Picture(PIXELS, "a plum"), Picture(PIXELS, "a photo")]
NEW, MISTAKEN = answer("1", known=False), answer("2")


def closing(digits, untaught):
    return Closing.of(DIGITS, UNTAUGHT, [*digits, *untaught])


def printed(ending, **options):
    console = Console(file=io.StringIO(), width=120, markup=False, highlight=False, **options)
    show(console, ending)
    return console.file.getvalue()


def test_the_counts_are_those_of_the_answers():
    ending = closing(FIRED, [NEW, MISTAKEN])
    assert (ending.known, ending.recognised) == (0.8, 0.5)
    assert ending.summary() == [
        "5 digits it never learned from: 4 right, 4 known, 1 not known",
        "2 pictures of what nobody taught, the photographs without a digit and drawn fruit: 1 known, 1 not known",
        "A synapse fired for 3 of the 5 digits: 2 of them are right, 1 would be without; task 1 (2), task 2 (2)",
    ]


def test_one_that_is_not_known_is_shown_with_its_novelty_and_is_neither_right_nor_wrong():
    text = printed(closing(SILENT, [NEW, MISTAKEN]))
    _, after = text.split("One that is not known:")
    assert "? shows a plum, answered 1  90.0%  task 1, novelty 1.00  looks like nothing" in after
    assert "shows a photo" not in text


def test_where_all_are_called_known_none_is_shown():
    assert "One that is not known" not in printed(closing(SILENT, [MISTAKEN, MISTAKEN]))


def test_a_digit_is_shown_for_which_a_synapse_fired():
    text = printed(closing(FIRED[:3] + SILENT[3:], [NEW, NEW]))
    _, after = text.split("One for which a synapse fired:")
    assert "✗ shows 3, answered 7" in after.split("drawn at random:")[0]


def test_where_no_synapse_fired_nothing_is_said_of_it():
    ending = closing(SILENT, [NEW, NEW])
    assert len(ending.summary()) == 2
    assert "fired" not in printed(ending).replace("nothing fired", "")


def test_digits_drawn_at_random_are_marked_right_or_wrong():
    _, after = printed(closing(SILENT, [NEW, NEW])).split("5 of the 5 digits, drawn at random:")
    assert after.count("✓ shows") == SHOWN_DIGITS - 1
    assert after.count("✗ shows 3, answered 7") == 1


@pytest.mark.parametrize("colours", [None, "truecolor"])
def test_a_photograph_has_colours_where_the_terminal_has(colours):
    text = printed(
        closing(SILENT, [NEW, NEW]), color_system=colours, force_terminal=colours is not None
    )
    assert ("▀" in text) == (colours is not None)
