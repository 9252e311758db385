"""Tables for spreadsheets: nothing in them runs, and all of it comes back."""

import csv
import random
import re
from io import StringIO

import pytest

from service.layout.cells import inert, legible, plain
from service.layout.records import read_records

FORMULAS = (
    "=cmd|' /c calc'!A0",
    "+1",
    "-2+3",
    "@SUM(A1)",
    "\uff1d1",
    "\uff0b1",
    "\uff0d1",
    "\uff201",
)
RUNNING = re.compile('[\\s"]*[=+\\-@\uff1d\uff0b\uff0d\uff20]')


@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize("before", ["", " ", '"', "x;", "x\t", "x\n", "\r", "x; ", 'x;"', "\u3000"])
def test_no_program_of_any_country_sees_a_formula(formula, before):
    out = StringIO()
    csv.writer(out, lineterminator="\n").writerows(
        [["heron.png", inert(before + formula), 0.5]] * 2
    )
    for delimiter in ",;\t":
        for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_NONE):
            if delimiter == "," and quoting == csv.QUOTE_NONE:
                continue  # no program that separates by commas takes quotes for letters
            text = StringIO(out.getvalue(), newline="")
            for row in csv.reader(text, delimiter=delimiter, quoting=quoting):
                assert not any(RUNNING.match(cell) for cell in row), row


@pytest.mark.parametrize(
    "text", ["heron", "it's", "'tis", "a-b", "x = y", "Jack; Jill", "", "100 %", "a=b"]
)
def test_ordinary_text_stays_as_it_is(text):
    assert (inert(text), plain(text), legible(text)) == (text,) * 3


def test_everything_comes_back():
    chosen = random.Random(0)
    for _ in range(20_000):
        text = "".join(chosen.choices("'=+-@;\t\r\n \"a\uff1d\u3000", k=chosen.randint(0, 8)))
        assert plain(inert(text)) == text, repr(text)
        assert plain(legible(text)) == text, repr(text)


@pytest.mark.parametrize("label", [*FORMULAS, "'=1", "''-1", "x;=1", "heron"])
def test_a_table_that_was_written_so_is_read_as_it_was_meant(label):
    out = StringIO()
    writer = csv.writer(out)
    writer.writerows([["file", "label"], [inert("-a.png"), inert(label)], ["b.png", label]])
    rows = read_records(out.getvalue(), "labels.csv", are_lines=False).rows
    assert [row["file"] for row in rows] == ["-a.png", "b.png"]
    assert rows[0]["label"] == label


def test_lines_of_json_are_as_they_are():
    rows = read_records('{"file": "a.png", "label": "\'=1"}', "x.jsonl", are_lines=True).rows
    assert rows[0]["label"] == "'=1"
