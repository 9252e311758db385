"""API keys: created, listed, limited, revoked."""

from collections.abc import Mapping
from typing import Annotated, cast

from fastapi import APIRouter, Path, Request, Response, status
from fastapi.responses import JSONResponse

from registry import keys
from registry.errors import InvalidKeyError
from registry.keys import NOT_USED, DayUse
from registry.postgres.database import Session
from registry.tables import KeyRow
from service.dependencies import Actor, ActorDep, AppContext, BodyDep, ContextDep
from service.http.demands import demands
from service.http.idempotency import IdempotentRequest, body_digest
from service.http.quotas import IMAGES, TASKS, Quotas
from service.http.roles import requires
from service.http.strict_route import StrictRoute
from service.problems import FieldError, Problem
from service.schemas.base import Page
from service.schemas.operations import KeyCreate, KeyCreated, KeyDay, KeyRead, KeyUpdate, Role
from service.use_cases import key_changes

KeyId = Annotated[str, Path(pattern="^[0-9a-f]{12}$")]

router = APIRouter(
    prefix="/v1/keys",
    tags=["Keys"],
    route_class=StrictRoute,
    dependencies=[requires("admin")],
)


@router.post("", status_code=status.HTTP_201_CREATED, response_model=KeyCreated)
@demands(is_idempotent=True)
def create_key(
    body: KeyCreate, raw: BodyDep, request: Request, context: ContextDep, actor: ActorDep
) -> Response:
    """Create a key. `key` in the answer is the only time it can be read.

    Roles: `reader` reads, `predictor` also predicts, `trainer` also creates learners and tasks, `admin` does all. For a
    key with `learners`, others do not exist: it creates and imports none, and reads neither workers nor metrics. It
    stays with these learners: one created later under the name of a deleted one is another learner.

    Repeated with the same `Idempotency-Key`, the answer has `key: null`: secrets are not kept. Revoke that key then.
    """
    with IdempotentRequest.of(
        request, context.session_factory, body_digest(request, raw)
    ) as idempotent:
        if idempotent.replay is not None:
            return idempotent.replay
        with context.session_factory.begin() as session:
            row, key = _create(session, actor, body)
            shown = _read_one(context, session, row).model_dump(mode="json")
            headers = {"Location": f"/v1/keys/{row.id}"}
            idempotent.answer(session, status.HTTP_201_CREATED, {**shown, "key": None}, headers)
    context.keys.refresh()
    return JSONResponse({**shown, "key": key}, status.HTTP_201_CREATED, headers)


@router.get("", response_model=Page[KeyRead])
def list_keys(context: ContextDep) -> Page[KeyRead]:
    """List all keys, also revoked ones, oldest first. Secrets are not stored."""
    with context.session_factory() as session:
        rows = keys.list_keys(session)
        names, used = keys.learner_names(session, rows), keys.day_uses(session)
        return Page[KeyRead](items=[_read(context.quotas, row, names, used) for row in rows])


@router.patch("/{key_id}", response_model=KeyRead)
def change_key(key_id: KeyId, body: KeyUpdate, context: ContextDep, actor: ActorDep) -> KeyRead:
    """Give a key other quotas: they hold within seconds, in every service. An admin key has none unless it is given.

    - **404** `key-not-found`
    """
    quotas = body.quotas.model_dump(exclude_unset=True)
    with context.session_factory.begin() as session:
        row = key_changes.set_quotas(session, actor, key_id, quotas)
        read = _read_one(context, session, row)
    context.keys.refresh()
    return read


@router.delete("/{key_id}", response_model=KeyRead)
def revoke_key(key_id: KeyId, context: ContextDep, actor: ActorDep) -> KeyRead:
    """Revoke a key: from now on it is refused, and what it follows ends.

    - **409** `last-admin-key`: no admin key would be left, or only ones that expire
    """
    with context.session_factory.begin() as session:
        row = key_changes.revoke_key(session, actor, key_id)
        read = _read_one(context, session, row)
    context.keys.refresh()
    return read


def _create(session: Session, actor: Actor, body: KeyCreate) -> tuple[KeyRow, str]:
    try:
        return key_changes.create_key(
            session,
            actor,
            body.name,
            body.role,
            learners=body.learners,
            expires_at=body.expires_at,
            quotas=body.quotas.model_dump(exclude_unset=True),
        )
    except InvalidKeyError as error:
        entry = FieldError(f"/body/{error.field}", str(error))
        raise Problem("validation", errors=(entry,)) from error


def _read_one(context: AppContext, session: Session, row: KeyRow) -> KeyRead:
    used = {row.id: keys.day_use(session, row.id)}
    return _read(context.quotas, row, keys.learner_names(session, [row]), used)


def _read(
    quotas: Quotas, row: KeyRow, names: Mapping[str, str], used: Mapping[str, DayUse]
) -> KeyRead:
    ids = row.learner_ids
    day = used.get(row.id, NOT_USED)
    return KeyRead(
        id=row.id,
        name=row.name,
        role=cast("Role", row.role),
        learners=None if ids is None else sorted(names[id_] for id_ in ids if id_ in names),
        quotas=row.quotas,
        day=KeyDay(
            tasks=day.n_tasks,
            images=day.n_images,
            most_tasks=quotas.limit_of(row.role, row.quotas, TASKS),
            most_images=quotas.limit_of(row.role, row.quotas, IMAGES),
        ),
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
        created_at=row.created_at,
        revoked_at=row.revoked_at,
    )
