import io

import pytest
from rich.console import Console

from service.cli.local.demo import (
    AVERAGE_TARGET,
    KNOWN_TARGET,
    LAST_TARGET,
    RECOGNISED_TARGET,
    StreamResult,
    comparison,
    judge,
)

HISTORY = {
    "learner": "digits",
    "tasks": [1, 2],
    "versions": [1, 2],
    "matrix": [[1.0, None], [0.98, 0.96]],
    "n": [[10, 0], [10, 10]],
    "last": 0.97,
    "average": 0.98,
    "forgetting": 0.02,
    "backward_transfer": -0.02,
    "plasticity": [1.0, 0.96],
    "stability": [None, 0.98],
    "routing": [None, None],
    "passes": [1.0, 1.25],
}


@pytest.fixture
def console():
    return Console(file=io.StringIO(), width=100, markup=False, highlight=False)


def test_the_comparison_has_a_row_a_strategy(console):
    results = [StreamResult("artsy", 61.04, HISTORY), StreamResult("simplecil", 5.0, HISTORY)]
    console.print(comparison(results))
    lines = console.file.getvalue().splitlines()
    assert lines[-2].split() == ["artsy", "98.0%", "97.0%", "2.0%", "1.25", "61.0"]
    assert lines[-1].split()[0] == "simplecil"


@pytest.mark.parametrize(
    ("average", "last", "known", "recognised", "is_good"),
    [
        (AVERAGE_TARGET, LAST_TARGET, KNOWN_TARGET, RECOGNISED_TARGET, True),
        (AVERAGE_TARGET - 0.001, 1.0, 1.0, 1.0, False),
        (1.0, LAST_TARGET - 0.001, 1.0, 1.0, False),
        (1.0, 1.0, KNOWN_TARGET - 0.001, 1.0, False),
        (1.0, 1.0, 1.0, RECOGNISED_TARGET - 0.001, False),
        (None, None, 1.0, 1.0, False),
    ],
)
def test_the_demo_fails_below_its_targets(console, average, last, known, recognised, is_good):
    history = HISTORY | {"average": average, "last": last}
    result = StreamResult("artsy", 60.0, history)
    assert judge(console, result, known=known, recognised=recognised) == is_good
    assert console.file.getvalue().strip().startswith("Reached" if is_good else "Missed")
