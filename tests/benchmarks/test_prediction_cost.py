"""What a prediction costs is measured of a real service, and of the same steps without one."""

import json

import pytest

from benchmarks.prediction_cost import main
from benchmarks.sections.serving import COSTS, PARTS, costs


@pytest.mark.slow
def test_costs_are_measured_and_shown(tmp_path):
    out = tmp_path / "prediction_cost.json"
    options = f"--backbone tiny --rounds 1 --seconds 0.5 --out {out}"

    assert main([*options.split(), "--images", "64 px", "1000 x 750"]) == 0

    report = json.loads(out.read_text())
    small, photo = report["rows"]
    for row in (small, photo):
        assert set(COSTS) | set(PARTS) <= set(row)
        assert 0 < row["alone loop_ms"] < row["alone service_ms"]
        assert row["together / bare"] > 0
    assert photo["decode_ms"] > small["decode_ms"]
    shown = "\n".join(costs("prediction_cost", report).text)
    assert "| 1000 x 750" in shown
    assert "together / bare" in shown
