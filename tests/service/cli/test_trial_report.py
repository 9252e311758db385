"""What `filopodia test` prints, on terminals of several widths."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from service.cli.measures import Judged, Names
from service.cli.trial import Trial
from service.cli.trial_report import print_trial


def trial(n_classes, *, wrong=3):
    """Return a trial of classes with four images each, of which some of the first are taken for the last."""
    labels = [f"species {i:02}" for i in range(n_classes)]
    found = Trial("birds", 7, labels, Names({label: label for label in labels}))
    for label in labels:
        for i in range(4):
            is_wrong = label == labels[0] and i < wrong
            answer = labels[-1] if is_wrong else label
            score = 0.5 + i / 10
            found.judged.append(Judged(Path(label, f"{i}.png"), label, answer, score, True))
    return found


def printed(found, width):
    stream = io.StringIO()
    print_trial(found, Console(file=stream, width=width, markup=False, highlight=False))
    return stream.getvalue()


@pytest.mark.parametrize(("n_classes", "width"), [(3, 80), (15, 200)])
def test_few_classes_are_a_matrix_with_their_names(n_classes, width):
    text = printed(trial(n_classes), width)
    assert "answered (columns)" in text
    assert "species…" in text
    assert "Most often confused" not in text


def test_on_a_narrow_terminal_the_columns_are_numbers():
    lines = printed(trial(15), 80).splitlines()
    head = next(line.split() for line in lines if line.split()[:3] == ["1", "2", "3"])
    first = next(line.split() for line in lines if line.startswith("1 species 00"))
    assert head == [str(i) for i in range(1, 16)]
    assert first[3:] == ["1", *["·"] * 13, "3"]
    assert max(map(len, lines)) <= 80


def test_of_many_classes_the_most_confused_are_named():
    text = printed(trial(16), 120)
    assert "Most often confused" in text
    assert "answered (columns)" not in text
    assert ["species", "00", "species", "15", "3"] in [line.split() for line in text.splitlines()]


def test_the_worst_images_come_with_the_most_confident_first():
    lines = printed(trial(20, wrong=3), 120).splitlines()
    wrong = [line.split()[1] for line in lines if line.startswith("species 00/")]
    assert wrong == ["00/2.png", "00/1.png", "00/0.png"]


def test_where_all_is_right_nothing_is_confused():
    text = printed(trial(4, wrong=0), 100)
    assert "accuracy 100.0%" in text
    assert "16 of 16 images" in text
    assert "confused" not in text
    assert "Wrong answers" not in text
