import json
import sys

import pytest

from benchmarks import starting
from benchmarks.sections.starting import started


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads what Linux alone tells")
def test_starts_commands_and_memory_are_measured_and_shown(tmp_path, monkeypatch):
    out = tmp_path / "starting.json"
    monkeypatch.setattr("sys.argv", ["starting", "--times", "1", "--out", str(out)])

    starting.main()

    content = json.loads(out.read_text())
    assert {row["turn"] for row in content["rows"]} == {1}
    empty, taught = (row for row in content["rows"] if "on" in row)
    assert "Loading the learner" in taught["steps"]
    assert list(empty["steps"]) == ["Loading PyTorch", "Waiting for the database"]
    for row in (empty, taught):
        assert 0 < sum(row["steps"].values()) < row["seconds"]
    assert [row["command"] for row in content["rows"] if "command" in row] == [
        "--help",
        "learners",
        "predict",
    ]
    shown = "\n".join(started("starting", content).text)
    assert "| this | one learner |" in shown
    assert "`filopodia predict`" in shown
    assert "--beside" not in shown
