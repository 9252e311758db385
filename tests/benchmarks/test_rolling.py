"""The proxies that were tried are told what the document says, and it names the versions."""

import json

import pytest

from benchmarks.report import RESULTS
from benchmarks.rolling.proxies import DOCUMENT, PROXIES, documented_lines

ROWS = json.loads((RESULTS / "rolling.json").read_text())["rows"]


def test_every_proxy_was_tried():
    assert {row["proxy"] for row in ROWS} == PROXIES.keys()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['proxy']}-{row['drain_s']:g}")
def test_what_was_tried_is_what_the_document_says(row):
    assert row["lines"] == documented_lines(PROXIES[row["proxy"]].block)
    assert row["version"].partition("-")[0] in DOCUMENT.read_text()
