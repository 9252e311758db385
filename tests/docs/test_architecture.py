"""What docs/architecture.md says is always true is held by a test or contract that exists; its numbers are the tree's.

Each check says what is wrong with a text, so that the tests can show that it finds something.
"""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/architecture.md").read_text("utf-8")
PACKAGES = ("models", "registry", "worker", "service")
LONG = 250
LINT = "from importlinter.cli import lint_imports_command; lint_imports_command()"


def contracts():
    """Return the names of import-linter's contracts."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    return [contract["name"] for contract in project["tool"]["importlinter"]["contracts"]]


def cells(line):
    """Return the cells of a line of a table."""
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def table(text, *headings):
    """Yield the rows of every table with these headings."""
    lines = text.splitlines()
    for i, line in enumerate(lines):
        if line.startswith("|") and cells(line) == list(headings):
            for row in lines[i + 2 :]:
                if not row.startswith("|"):
                    break
                yield cells(row)


def without_a_holder(text):
    """Yield what is said to be always true and is held by nothing that exists."""
    known = set(contracts())
    for said, by in table(text, "always true", "held by"):
        tests = re.findall(r"`(tests/[\w/]+\.py)`", by)
        named = re.findall(r'"([^"]+)"', by)
        if not tests + named:
            yield f"{said} Nothing is named."
        for path in tests:
            if not (ROOT / path).is_file():
                yield f"{said} There is no {path}."
        for name in set(named) - known:
            yield f"{said} There is no contract {name!r}."


def test_what_is_always_true_is_held_by_something():
    assert not list(without_a_holder(PAGE))
    assert len(list(table(PAGE, "always true", "held by"))) >= 30
    assert PAGE.count("| always true | held by |") >= 6


@pytest.mark.parametrize("by", ["people", "`tests/test_no_such.py`", 'contract "No such"'])
def test_what_nothing_holds_is_found(by):
    text = f"| always true | held by |\n|---|---|\n| The sky is blue. | {by} |\n"
    assert len(list(without_a_holder(text))) == 1


def test_every_contract_holds_something_here():
    assert not [name for name in contracts() if f'"{name}"' not in PAGE]


def modules(package):
    """Return the modules of a package."""
    return [path for path in (ROOT / package).rglob("*.py") if "__pycache__" not in path.parts]


def test_modules_are_counted():
    (row,) = [row for row in table(PAGE, "", *PACKAGES) if row[0].startswith("modules")]
    counted = [len(modules(package)) for package in PACKAGES]
    expected = "| " + " | ".join([row[0], *(f"{round(n, -1)}" for n in counted)]) + " |"
    assert all(abs(int(said) - n) <= 10 for said, n in zip(row[1:], counted, strict=True)), (
        f"the row is {expected}"
    )


def number(what):
    """Return the number that the page gives for something."""
    (found,) = re.findall(rf"^\| {re.escape(what)} \| (\d+) \|$", PAGE, re.MULTILINE)
    return int(found)


def test_contracts_are_counted_and_kept():
    done = subprocess.run(
        [sys.executable, "-c", LINT], cwd=ROOT, capture_output=True, text=True, check=False
    )
    kept = [name for name in contracts() if f"\n{name} KEPT" in done.stdout]
    assert number("contracts of import-linter") == len(kept) == len(contracts()), done.stdout
    assert number("arrows back up inside `service/`") == number("circles") == 0
    assert {"Inside the service all arrows point down", "No circles"} <= set(kept)


def long_files():
    """Return the files above 250 lines, by name."""
    found = [path for package in PACKAGES for path in modules(package)]
    return sorted(
        str(path.relative_to(ROOT))
        for path in found
        if len(path.read_text("utf-8").splitlines()) > LONG
    )


def test_long_files_are_listed_with_their_reason():
    reasons = {
        name.strip("`"): reason
        for name, reason in table(PAGE, f"file above {LONG} lines", "why it is one file")
    }
    expected = [f"| `{name}` | {reasons.get(name) or 'WHY?'} |" for name in long_files()]
    rows = [f"| `{name}` | {reason} |" for name, reason in reasons.items()]
    assert rows == expected, "the rows are\n" + "\n".join(expected)
    assert all(reasons.values())
    assert number(f"files above {LONG} lines") == len(expected)
