"""What every function of the registry keeps to: it does not commit, and it asks the database for the time."""

import ast
from pathlib import Path

REGISTRY = Path(__file__).parents[2] / "registry"
ALONE = "upkeep"
"""The room of commands that work on a whole installation, in transactions of their own."""
OF_FILES = {"blobs/s3.py", "blobs/store.py", "logs.py"}
"""Ask for the time that files and people's terminals have."""
ENDS = {"commit", "rollback"}
CLOCKS = {"now", "utcnow", "today", "time"}
OWNERS = {"datetime", "date", "time"}


def calls(code):
    """Yield `(owner, name, line)` of each call of a method or of a module's function."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value
            yield getattr(owner, "id", ""), node.func.attr, node.lineno


def ends_a_transaction(code):
    """Return the lines that commit or roll back."""
    return [line for _, name, line in calls(code) if name in ENDS]


def asks_the_process(code):
    """Return the lines that take the time from this machine's clock."""
    return [line for owner, name, line in calls(code) if name in CLOCKS and owner in OWNERS]


def modules(*without):
    """Yield `(name, code)` of the registry's modules."""
    for path in sorted(REGISTRY.rglob("*.py")):
        name = path.relative_to(REGISTRY).as_posix()
        if not name.startswith(f"{ALONE}/") and name not in without:
            yield name, path.read_text("utf-8")


def test_no_function_commits():
    assert not {name: found for name, code in modules() if (found := ends_a_transaction(code))}


def test_what_is_decided_about_rows_uses_the_databases_clock():
    found = {name: lines for name, code in modules(*OF_FILES) if (lines := asks_the_process(code))}
    assert not found
    assert all(asks_the_process((REGISTRY / name).read_text("utf-8")) for name in OF_FILES)


def test_what_breaks_a_rule_is_found():
    assert ends_a_transaction("def f(session):\n    session.commit()\n") == [2]
    assert asks_the_process("import time\nfrom datetime import datetime\ntime.time()\n") == [3]
    assert asks_the_process("datetime.now(UTC)\n") == [1]
    assert not asks_the_process("func.now()\n")
