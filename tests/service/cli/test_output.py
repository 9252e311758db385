import io

import pytest
from rich.console import Console

from service.cli import output

HISTORY = {
    "learner": "digits",
    "tasks": [1, 2],
    "versions": [1, 2],
    "matrix": [[0.99, None], [0.9, 0.5]],
    "n": [[10, 0], [10, 10]],
    "last": 0.7,
    "average": 0.85,
    "forgetting": 0.09,
    "backward_transfer": -0.09,
    "plasticity": [0.99, 0.5],
    "stability": [None, 0.9],
    "routing": [None, None],
    "passes": [1.0, 1.5],
}
RESULT = {
    "index": 0,
    "filename": "a.png",
    "label": "heron",
    "score": 0.9,
    "task": 1,
    "novelty": 0.1,
    "known": True,
    "top": [
        {"label": "heron", "score": 0.9, "task": 1},
        {"label": "[red]egret", "score": 0.1, "task": 2},
    ],
    "route": {
        "functional": [1],
        "silent": [2],
        "passes": 2,
        "synapses": [
            {"task": 1, "current": 0.8, "threshold": 0.4, "state": "functional"},
            {"task": 2, "current": 0.2, "threshold": 0.6, "state": "silent"},
        ],
    },
}


def printed(*things):
    stream = io.StringIO()
    console = Console(file=stream, width=100, markup=False, highlight=False)
    for thing in things:
        console.print(thing)
    return stream.getvalue()


def test_the_matrix_has_a_row_a_version_and_a_dot_for_the_future():
    lines = printed(output.matrix_table(HISTORY)).splitlines()
    assert lines[0].split() == ["task", "1", "task", "2"]
    assert lines[1].split() == ["version", "1", "99.0%", "·"]
    assert lines[2].split() == ["version", "2", "90.0%", "50.0%"]


def test_the_live_version_is_marked():
    lines = printed(output.matrix_table(HISTORY, live=1)).splitlines()
    assert lines[1].split() == ["version", "1", "99.0%", "·", "live"]
    assert "live" not in lines[2]


def test_the_headline_shows_the_last_passes():
    words = printed(output.headline(HISTORY)).split()
    assert words == [
        "last",
        "70.0%",
        "average",
        "85.0%",
        "forgetting",
        "9.0%",
        "passes",
        "an",
        "image",
        "1.50",
    ]


def measure(value, low, high, n, **fields):
    known = {"n_cross_validated": 0, "measured_by": "held_out", "too_few": high - low > 0.4}
    return {"value": value, "low": low, "high": high, "n": n, **known, **fields}


MEASURED = HISTORY | {
    "measures": {
        "matrix": [
            [measure(0.99, 0.9, 1.0, 100), None],
            [measure(0.9, 0.8256, 0.9448, 100), measure(0.5, 0.2366, 0.7634, 10)],
        ],
        "last": measure(0.7, 0.48, 0.8568, 20, measured_by="both", n_cross_validated=10),
        "average": measure(0.85, 0.7, 0.9, 20),
        "forgetting": measure(0.09, -0.01, 0.19, 100),
    }
}


def test_below_the_matrix_stand_images_and_intervals_of_the_last_version():
    lines = printed(output.matrix_table(MEASURED, live=1)).splitlines()
    assert lines[3].split() == ["images", "of", "100", "of", "10"]
    assert lines[4].split() == ["95", "%", "interval", "83-94%", "too", "few"]


def test_the_headline_says_how_sure_it_is():
    lines = printed(output.headline(MEASURED)).split("\n", 1)
    assert lines[0].endswith("passes an image 1.50")
    assert " ".join(lines[1].split()) == (
        "of 20 images held out or left out in turn; 95 % intervals: last 48 to 86%; average 70 to 90%; "
        "forgetting -1 to 19%, within the uncertainty"
    )
    few = {"last": measure(1.0, 0.2066, 1.0, 1), "average": None, "forgetting": None}
    said = printed(output.headline(HISTORY | {"measures": few}))
    assert "of 1 image held out; 95 % intervals: last 21 to 100%, too few to tell" in said


def test_a_share_says_how_sure_it_is():
    assert output.share_of(0.9, 10, measure(0.9, 0.5958, 0.9821, 10)) == "90.0% of 10 (60-98%)"
    assert output.share_of(0.5, 10, measure(0.5, 0.2366, 0.7634, 10)) == (
        "50.0% of 10 (24-76%) too few"
    )


def test_a_result_shows_labels_as_they_are_and_its_route():
    text = printed(*output.result_lines(RESULT))
    assert "heron  90.0%" in text
    assert "[red]egret" in text
    assert "2 passes" in text
    assert "0.80 ≥ 0.40  functional" in text
    assert "0.20 < 0.60  silent" in text


def test_a_synapse_that_can_never_fire_is_called_that():
    never = {"task": 1, "current": 0.1, "threshold": 1.0, "state": "silent", "can_fire": False}
    other = {"task": 2, "current": 0.1, "threshold": 0.25, "state": "silent", "can_fire": True}
    route = {"functional": [], "silent": [1, 2], "passes": 1, "synapses": [never, other]}
    _, able, unable = printed(*output.route_lines(RESULT | {"route": route})).splitlines()
    assert able.split()[:2] == ["task", "2"]
    assert able.endswith("0.10 < 0.25  silent")
    assert unable.strip() == "task 1 never fires: it has not earned a pass"
    # What cannot be reached sets no scale.
    assert able.count("━") == round(output.BAR_WIDTH * 0.1 / 0.375)
    alone = printed(*output.route_lines(RESULT | {"route": route | {"synapses": [never]}}))
    assert [line.strip() for line in alone.splitlines()] == [
        "route: 1 pass",
        "task 1 never fires: it has not earned a pass",
    ]


def test_where_a_synapse_fired_the_answer_without_it_is_told():
    without = {"label": "[red]egret", "score": 0.61, "task": 2}
    route = RESULT["route"] | {"without": without}
    assert "had none fired: [red]egret  61.0%" in printed(*output.route_lines({"route": route}))
    assert "had none fired" not in printed(*output.route_lines(RESULT))


def test_an_unknown_image_is_said_to_be_one():
    assert "nothing learned" in printed(*output.result_lines(RESULT | {"known": False}))


def test_warnings_of_an_image_are_said_in_words():
    text = printed(*output.result_lines(RESULT | {"warnings": ["blank", "of_a_newer_service"]}))
    assert "of one colour" in text
    assert "of_a_newer_service" in text


def test_a_strategy_without_synapses_has_a_plain_route():
    route = {"functional": [], "silent": [], "passes": 1, "synapses": None}
    text = printed(*output.route_lines(RESULT | {"route": route}))
    assert text.strip() == "route: the shared network, 1 pass"


def test_an_unusable_image_shows_its_problem():
    problem = {"code": "image-truncated", "detail": "The file ends before the image does."}
    assert "ends before" in printed(
        *output.result_lines({"index": 0, "filename": "a.png", "problem": problem})
    )


@pytest.mark.parametrize(
    ("current", "threshold", "bar"),
    [(0.0, 0.5, "    ┃   "), (1.0, 0.5, "━━━━┃━━━"), (0.5, 1.0, "━━━━   ┃")],
)
def test_the_threshold_is_always_visible(current, threshold, bar):
    synapse = {"task": 1, "current": current, "threshold": threshold, "state": "silent"}
    assert output.threshold_bar(synapse, 1.0, width=8) == bar


def test_an_empty_table_says_what_to_do(capsys):
    output.print_table(("name",), [], empty="Nothing here.")
    assert capsys.readouterr().out == "Nothing here.\n"


def test_numbers_stand_to_the_right(capsys):
    output.print_table(("name", "n"), [("a", 5), ("long name", 1234)], empty="")
    assert capsys.readouterr().out.splitlines()[1].split() == ["a", "5"]
    output.print_table(("name", "n"), [("a", 5), ("b", 1234)], empty="")
    assert capsys.readouterr().out.splitlines()[1].endswith("   5")
