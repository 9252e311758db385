"""Consolidating from the command line: learning returns at once, and says how the rest stands."""

import json
import re

import pytest

from tests.factories import write_images

ARTSY = ("--create", "--strategy", "artsy", "--backbone", "tiny", "--config", '{"epochs": 1}')
WAITS = (
    "Task 1 answers already. Its images will shape the features when it has been quiet for 10 s: in"
)


@pytest.fixture
def learned(run, tmp_path):
    """What learning printed of a learner whose images have not shaped its features yet."""
    write_images(tmp_path / "birds", {"heron": range(12), "egret": range(12)})
    answer = run("learn", "birds", tmp_path / "birds", *ARTSY)
    assert answer.exit_code == 0, answer.output
    return answer.output


def test_learning_returns_when_the_classes_are_answered(run, learned):
    assert learned.splitlines()[-1].startswith(WAITS)
    told = run("versions", "birds").output
    assert re.search(r"1\s+1\s+learned\s+2", told)
    [task] = json.loads(run("tasks", "birds", "--json").output)
    assert WAITS in " ".join(run("task", task["id"]).output.split())


def test_it_is_consolidated_when_asked_and_watched(run, learned):
    answer = run("consolidate", "birds", "--wait")
    assert answer.exit_code == 0, answer.output
    first, *_, last = answer.output.splitlines()
    assert re.match(r"tsk_\w+: waits for a free worker", first)
    assert re.match(r"Consolidation (declined: .+|done, version 2.*)\.$", last)
    listed = run("tasks", "--consolidations").output
    assert "birds" in listed
    assert len(json.loads(run("tasks", "--json").output)) == 1
    [task] = json.loads(run("tasks", "birds", "--consolidations", "--json").output)
    shown = run("task", task["id"]).output
    assert "birds, consolidation 1" in shown
    assert task["consolidation"]["standing"][:20] in shown


def test_learning_may_wait_for_both(run, tmp_path):
    write_images(tmp_path / "birds", {"heron": range(12), "egret": range(12)})
    answer = run("learn", "birds", tmp_path / "birds", *ARTSY, "--consolidated")
    assert answer.exit_code == 0, answer.output
    assert re.search(r"Answers already\. Consolidation tsk_\w+: waits", answer.output)
    assert re.match(r"Consolidation (declined|done)", answer.output.splitlines()[-1])


def test_what_trains_as_it_learns_has_nothing_to_wait_for(run, known_birds, tmp_path):
    refused = run("consolidate", known_birds)
    assert refused.exit_code == 1
    write_images(tmp_path / "more", {"wren": range(6)})
    answer = run("learn", known_birds, tmp_path / "more", "--consolidated")
    assert answer.exit_code == 0, answer.output
    # A task that trains may be seen at the stage that is called so.
    assert "Consolidation" not in answer.output
