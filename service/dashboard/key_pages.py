"""Keys in the browser: who has which, what each may do and has done, making, limiting and revoking them. For admins."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Form, Path, Query, Response
from starlette.responses import RedirectResponse

from registry import keys, learners
from registry.errors import InvalidKeyError
from registry.keys import NOT_USED, DayUse
from registry.postgres.database import Session
from registry.tables import ROLES, KeyRow
from service.dashboard.pages import DONE, PageRoute, page
from service.dashboard.sentences import sentence
from service.dependencies import Actor, ActorDep, AppContext, ContextDep
from service.http.quotas import IMAGES, TASKS, Quotas
from service.http.roles import PrincipalDep, requires
from service.http.security import Principal
from service.problems import Problem
from service.schemas.base import MAX_INT
from service.use_cases import key_changes

LIVES = {
    0: "never",
    1: "in a day",
    7: "in a week",
    30: "in 30 days",
    90: "in 90 days",
    365: "in a year",
}
"""When a new key can be made to expire, by days; 0 for never."""
FIELDS = {
    "tasks_per_day": "tasks in 24 hours",
    "images_per_day": "images to learn from in 24 hours",
    "predict_images_per_minute": "images predicted a minute",
    "changes_per_minute": "changes a minute",
}
"""What a key may be limited in, and what that is called."""
NO_LIMIT = "none"
MOST_NAME = 200
MOST_LEARNERS = 200
"""Learners offered to limit a key to."""

KeyId = Annotated[str, Path(pattern="^[0-9a-f]{12}$")]
Limit = Annotated[str, Form(max_length=20)]

router = APIRouter(prefix="/keys", route_class=PageRoute, dependencies=[requires("admin")])


@dataclass(frozen=True)
class KeyView:
    """A key as a row of a table."""

    id: str
    name: str
    role: str
    state: str
    """`valid`, `expired` or `revoked`."""
    scope: list[str] | None
    """Names of the only learners it may see and use; None for all."""
    quotas: dict[str, Any]
    day: DayUse
    """What was posted with it within 24 hours."""
    most_tasks: int | None
    """It may post in 24 hours; None for any number."""
    most_images: int | None
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True)
class NewKey:
    """What a person wants a key to be."""

    name: str = ""
    role: str = "predictor"
    days: int = 90
    scope: tuple[str, ...] = ()
    """Names of learners; none for all."""
    quotas: dict[str, int | None] = field(default_factory=dict)


@router.get("")
def show_keys(
    context: ContextDep,
    viewer: PrincipalDep,
    problem: Annotated[str | None, Query(max_length=50)] = None,
    done: Annotated[str | None, Query(max_length=50)] = None,
) -> Response:
    """Show all keys, newest first, also those that no longer work."""
    return _page(context, viewer, notice=sentence(problem), done=DONE.get(done or ""))


@router.post("")
def create_key(
    context: ContextDep,
    viewer: PrincipalDep,
    actor: ActorDep,
    name: Annotated[str, Form(max_length=MOST_NAME)] = "",
    role: Annotated[str, Form(max_length=20)] = "",
    days: Annotated[int, Form(ge=0, le=max(LIVES))] = 0,
    scope: Annotated[list[str] | None, Form(max_length=MOST_LEARNERS)] = None,
    tasks_per_day: Limit = "",
    images_per_day: Limit = "",
    predict_images_per_minute: Limit = "",
    changes_per_minute: Limit = "",
) -> Response:
    """Make a key, and show it: the only time it can be read."""
    wanted = NewKey(name.strip(), role, days, tuple(scope or ()))
    given = (tasks_per_day, images_per_day, predict_images_per_minute, changes_per_minute)
    try:
        wanted = replace(wanted, quotas=_limits(given))
        secret = _create(context, actor, wanted)
    except InvalidKeyError as error:
        return _page(context, viewer, status=422, notice=str(error), form=wanted)
    context.keys.refresh()
    return _page(context, viewer, status=201, secret=secret, secret_for=wanted.name)


@router.post("/{key_id}/quotas")
def limit_key(
    key_id: KeyId,
    context: ContextDep,
    viewer: PrincipalDep,
    actor: ActorDep,
    tasks_per_day: Limit = "",
    images_per_day: Limit = "",
    predict_images_per_minute: Limit = "",
    changes_per_minute: Limit = "",
) -> Response:
    """Limit a key otherwise. An empty field is what the installation allows, and `none` is no limit."""
    given = (tasks_per_day, images_per_day, predict_images_per_minute, changes_per_minute)
    try:
        quotas = _limits(given)
    except InvalidKeyError as error:
        return _page(context, viewer, status=422, notice=str(error))
    with context.session_factory.begin() as session:
        key_changes.set_quotas(session, actor, key_id, quotas)
    context.keys.refresh()
    return RedirectResponse("/admin/keys?done=key-limited", status_code=303)


@router.post("/{key_id}/revoke")
def revoke_key(key_id: KeyId, context: ContextDep, actor: ActorDep) -> Response:
    """Revoke a key: from now on it is refused, and so are the browser sessions it has opened."""
    try:
        with context.session_factory.begin() as session:
            key_changes.revoke_key(session, actor, key_id)
    except Problem as problem:
        return RedirectResponse(f"/admin/keys?problem={problem.code}", status_code=303)
    context.keys.refresh()
    return RedirectResponse("/admin/keys?done=key-revoked", status_code=303)


def _limits(given: Sequence[str]) -> dict[str, int | None]:
    """Read the limits of a form, in the order of `FIELDS`.

    Raises:
        InvalidKeyError: If one is neither a number nor `none`.

    Example:
        >>> _limits(["5", "", "none", " 60 "])
        {'tasks_per_day': 5, 'predict_images_per_minute': None, 'changes_per_minute': 60}
    """
    quotas: dict[str, int | None] = {}
    for (name, title), text in zip(FIELDS.items(), given, strict=True):
        said = text.strip().casefold()
        if said == NO_LIMIT:
            quotas[name] = None
        elif said.isascii() and said.isdigit() and int(said) <= MAX_INT:
            quotas[name] = int(said)
        elif said:
            advice = f"Write a whole number for {title}, or {NO_LIMIT} for no limit."
            raise InvalidKeyError(f"quotas/{name}", advice)
    return quotas


def key_views(session: Session, quotas: Quotas) -> list[KeyView]:
    """Return all keys, those that work first, then the newest first."""
    rows = keys.list_keys(session)
    names = keys.learner_names(session, rows)
    used = keys.day_uses(session)
    now = datetime.now(UTC)
    views = [_view(row, names, now, quotas, used.get(row.id, NOT_USED)) for row in reversed(rows)]
    return sorted(views, key=lambda key: key.state != "valid")


def _view(
    row: KeyRow, names: dict[str, str], now: datetime, quotas: Quotas, day: DayUse
) -> KeyView:
    state = "valid"
    if row.revoked_at is not None:
        state = "revoked"
    elif row.expires_at is not None and row.expires_at <= now:
        state = "expired"
    ids = row.learner_ids
    return KeyView(
        id=row.id,
        name=row.name,
        role=row.role,
        state=state,
        scope=None if ids is None else sorted(names[id_] for id_ in ids if id_ in names),
        quotas=row.quotas,
        day=day,
        most_tasks=quotas.limit_of(row.role, row.quotas, TASKS),
        most_images=quotas.limit_of(row.role, row.quotas, IMAGES),
        created_at=row.created_at,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
    )


def _create(context: AppContext, actor: Actor, wanted: NewKey) -> str:
    if not wanted.name or not wanted.name.isprintable():
        raise InvalidKeyError("name", "Say what the key is for, in letters that can be seen.")
    if wanted.role not in ROLES:
        raise InvalidKeyError("role", "Choose one of the roles.")
    expires_at = datetime.now(UTC) + timedelta(days=wanted.days) if wanted.days else None
    with context.session_factory.begin() as session:
        _, secret = key_changes.create_key(
            session,
            actor,
            wanted.name,
            wanted.role,
            learners=wanted.scope or None,
            expires_at=expires_at,
            quotas=wanted.quotas,
        )
    return secret


def _page(
    context: AppContext,
    viewer: Principal,
    *,
    status: int = 200,
    form: NewKey | None = None,
    secret: str | None = None,
    secret_for: str = "",
    notice: str | None = None,
    done: str | None = None,
) -> Response:
    with context.session_factory() as session:
        views = key_views(session, context.quotas)
        names = [row.name for row in learners.list_learners(session, limit=MOST_LEARNERS).items]
    shown: dict[str, Any] = {
        "keys": views,
        "learners": names,
        "roles": ROLES,
        "lives": LIVES,
        "fields": FIELDS,
        "defaults": {name: context.quotas.default(name) for name in FIELDS},
        "form": form or NewKey(),
        "secret": secret,
        "secret_for": secret_for,
        "notice": notice,
        "done": done,
    }
    return page("keys.html", viewer, section="keys", status=status, **shown)
