"""The statuses of a task: stored and shown as their texts, and written down in one place."""

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from sqlalchemy import text

from registry import events, statuses, tasks
from registry.statuses import TaskStatus
from service.remote import statuses as of_client
from service.schemas.tasks import Status
from tests.factories import make_learner, make_task

PROJECT = Path(__file__).parents[2]
PACKAGES = ("registry", "service", "worker", "benchmarks")
MAY_SPELL = {
    "registry/statuses.py": "the place",
    "service/remote/statuses.py": "the client's copy, compared below",
    "registry/events.py": "kinds of events, some of which are called like statuses",
}


def test_a_row_holds_a_status_and_the_database_its_text(session, blobs):
    make_learner(session)
    task = make_task(session, blobs)
    assert tasks.get_task(session, task.id).status is TaskStatus.QUEUED

    task.status = TaskStatus.HELD
    session.flush()

    assert session.scalar(text("SELECT status FROM tasks")) == "held"
    assert events.latest(session, [task.id])[task.id][1] is TaskStatus.HELD
    assert [found.id for found in tasks.list_tasks(session, statuses=statuses.WAITING).items] == [
        task.id
    ]


def test_an_event_tells_the_text(session, blobs):
    make_learner(session)
    task = make_task(session, blobs)
    tasks.request_cancel(session, task.id)
    data = session.scalars(text("SELECT data::text FROM events WHERE type = 'end'")).one()
    assert json.loads(data) == {"status": "cancelled"}


def test_a_status_has_ended_or_has_not():
    assert set(TaskStatus) == statuses.ENDED | statuses.UNFINISHED
    assert not statuses.ENDED & statuses.UNFINISHED


def test_the_client_knows_the_same_ones():
    assert {one.name: one.value for one in of_client.TaskStatus} == {
        one.name: one.value for one in TaskStatus
    }
    assert of_client.ENDED == statuses.ENDED


def test_the_contract_shows_all_of_them():
    assert get_args(Status) == tuple(TaskStatus)


def spelled(code: str) -> Iterator[int]:
    """Yield the lines on which a status of a task is compared, listed or set as a bare text."""
    for node in ast.walk(ast.parse(code)):
        if _is_compared(node) or _is_listed(node) or _is_set(node):
            yield getattr(node, "lineno", 0)


def _is_compared(node: ast.AST) -> bool:
    if isinstance(node, ast.Compare):
        return any(_is_text(part) for one in (node.left, *node.comparators) for part in _parts(one))
    return isinstance(node, ast.MatchValue) and _is_text(node.value)


def _is_listed(node: ast.AST) -> bool:
    return isinstance(node, ast.expr) and sum(map(_is_text, _parts(node))) > 1


def _is_set(node: ast.AST) -> bool:
    match node:
        case ast.keyword(arg="status" | "statuses", value=value):
            return _has_text(value)
        case ast.Assign(targets=[target], value=ast.expr() as value):
            return _is_status(target) and _has_text(value)
        case ast.AnnAssign(target=target, value=ast.expr() as value):
            return _is_status(target) and _has_text(value)
        case ast.Dict(keys=keys, values=values):
            return any(
                isinstance(key, ast.Constant) and key.value == "status" and _has_text(value)
                for key, value in zip(keys, values, strict=True)
            )
    return False


def _parts(node: ast.expr) -> list[ast.expr]:
    return node.elts if isinstance(node, ast.Tuple | ast.List | ast.Set) else [node]


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value in set(TaskStatus)


def _has_text(node: ast.expr) -> bool:
    return any(isinstance(part, ast.expr) and _is_text(part) for part in ast.walk(node))


def _is_status(node: ast.expr) -> bool:
    name = getattr(node, "attr", getattr(node, "id", ""))
    return name in ("status", "statuses")


@pytest.mark.parametrize(
    "code",
    [
        "if task.status == 'queued': pass",
        "if 'held' != task['status']: pass",
        "if task.status in ('failed',): pass",
        "DONE = frozenset({'succeeded', 'superseded'})",
        "query.where(TaskRow.status.in_(['running', 'cancelling']))",
        "task.status = 'queued' if again else before",
        "status: str = 'failed'",
        "TaskRow(status='succeeded')",
        "append_event(session, task.id, 'end', {'status': 'cancelled'})",
        "match status:\n    case 'held' | 'failed': pass",
    ],
)
def test_finds_a_status_written_as_text(code):
    assert list(spelled(code))


def test_overlooks_events_phases_and_counts_of_the_same_name():
    code = "append_event(session, id, 'queued', {'phase': 'queued'}); report = {'failed': 3}"
    assert not list(spelled(code))


def test_no_package_spells_a_status():
    found = [
        f"{path.relative_to(PROJECT)}:{line}"
        for package in PACKAGES
        for path in sorted((PROJECT / package).rglob("*.py"))
        if str(path.relative_to(PROJECT)) not in MAY_SPELL
        for line in spelled(path.read_text())
    ]
    assert not found, "Name it by registry.statuses (the client: service.remote.statuses)."
