"""The audit log in the browser: who changed what. For admins."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Response

from registry import audit, learners
from registry.tables import AuditRow
from service.dashboard.audit_words import address, sentence
from service.dashboard.pages import PageRoute, page
from service.dashboard.rendering import NONE
from service.dependencies import ContextDep, Cursor
from service.http.roles import PrincipalDep, requires

ENTRIES_SHOWN = 50

router = APIRouter(prefix="/audit", route_class=PageRoute, dependencies=[requires("admin")])

Filter = Annotated[str, Query(max_length=100, pattern=r"^[^\x00]*$")]


@dataclass(frozen=True)
class AuditView:
    """An entry as a row of a table."""

    created_at: datetime
    key_id: str | None
    key_name: str
    action: str
    sentence: str
    """What was done, after the name of who did it."""
    address: str | None
    """Page of what it is about."""
    learner: str | None
    subject: str
    changes: list[str]
    raw: str
    """The whole entry, for who wants it to the letter."""


@router.get("")
def show_audit(
    context: ContextDep,
    viewer: PrincipalDep,
    key: Filter = "",
    learner: Filter = "",
    action: Filter = "",
    cursor: Cursor = None,
) -> Response:
    """Show what was changed, newest first; of one key, learner or kind of change, or all."""
    with context.session_factory() as session:
        rows = audit.list_audit(
            session,
            key_id=key.strip() or None,
            learner=learner.strip() or None,
            action=action.strip() or None,
            limit=ENTRIES_SHOWN,
            cursor=cursor,
        )
        there = learners.existing(session, {row.learner for row in rows.items if row.learner})
        entries = [_view(row, there) for row in rows.items]
        named = audit.named(session)
    filters = {"key": key, "learner": learner, "action": action}
    older = None
    if rows.next_cursor:
        given = {name: value for name, value in filters.items() if value}
        older = f"/admin/audit?{urlencode(given | {'cursor': rows.next_cursor})}"
    return page(
        "audit.html",
        viewer,
        section="audit",
        entries=entries,
        filters=filters,
        older=older,
        choices={
            "learner": {name: name for name in _with(named.learners, filters["learner"])},
            "action": {name: titled(name) for name in _with(named.actions, filters["action"])},
            "key": {**({key: key} if key else {}), **named.keys},
        },
    )


def titled(action: str) -> str:
    """Say the name of an action in words.

    Example:
        >>> titled("prediction_job.create")
        'prediction job: create'
    """
    return action.replace("_", " ").replace(".", ": ")


def _with(names: list[str], chosen: str) -> list[str]:
    return names if not chosen or chosen in names else [chosen, *names]


def changes(details: dict[str, Any]) -> list[str]:
    """Say what changed, a line each.

    Example:
        >>> changes({"before": {"version": 4, "head": 4}, "after": {"version": 3, "head": 4}})
        ['version 4 → 3', 'head 4']
        >>> changes({"name": {"before": "upupa", "after": "hoopoe"}, "role": "reader"})
        ['name upupa → hoopoe', 'role reader']
    """
    before, after = details.get("before"), details.get("after")
    if isinstance(before, dict) and isinstance(after, dict):
        pairs = {name: (before.get(name), after.get(name)) for name in {**before, **after}}
        rest = {name: value for name, value in details.items() if name not in ("before", "after")}
        return [_change(name, *pair) for name, pair in pairs.items()] + changes(rest)
    sentences = []
    for name, value in details.items():
        if isinstance(value, dict) and set(value) == {"before", "after"}:
            sentences.append(_change(name, value["before"], value["after"]))
        else:
            sentences.append(f"{name} {_said(value)}")
    return sentences


def _change(name: str, before: Any, after: Any) -> str:
    values = _said(after) if before == after else f"{_said(before)} → {_said(after)}"
    return f"{name} {values}"


def _said(value: Any) -> str:
    if value is None:
        return NONE
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _view(row: AuditRow, learners_there: frozenset[str]) -> AuditView:
    entry = {
        "at": row.created_at.isoformat(timespec="seconds"),
        "key": row.key_id,
        "key_name": row.key_name,
        "action": row.action,
        "learner": row.learner,
        "subject": row.subject,
        "details": row.details,
        "request_id": row.request_id,
    }
    return AuditView(
        created_at=row.created_at,
        key_id=row.key_id,
        key_name=row.key_name,
        action=row.action,
        sentence=sentence(row.action, row.details),
        address=address(row, learners_there),
        learner=row.learner,
        subject=row.subject,
        changes=changes(row.details),
        raw=json.dumps(entry, ensure_ascii=False, indent=2),
    )
