"""API keys: created, listed, revoked."""

from collections.abc import Mapping
from typing import Annotated, cast

from fastapi import APIRouter, Path, Request, Response, status
from fastapi.responses import JSONResponse

from registry import keys
from registry.errors import InvalidKeyError
from registry.postgres.database import Session
from registry.tables import KeyRow
from service.dependencies import Actor, ActorDep, BodyDep, ContextDep
from service.http.demands import demands
from service.http.idempotency import IdempotentRequest, body_digest
from service.http.roles import requires
from service.http.strict_route import StrictRoute
from service.problems import FieldError, Problem
from service.schemas.base import Page
from service.schemas.operations import KeyCreate, KeyCreated, KeyRead, Role
from service.use_cases import key_changes

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
            shown = _read(row, keys.learner_names(session, [row])).model_dump(mode="json")
            headers = {"Location": f"/v1/keys/{row.id}"}
            idempotent.answer(session, status.HTTP_201_CREATED, {**shown, "key": None}, headers)
    context.keys.refresh()
    return JSONResponse({**shown, "key": key}, status.HTTP_201_CREATED, headers)


@router.get("", response_model=Page[KeyRead])
def list_keys(context: ContextDep) -> Page[KeyRead]:
    """List all keys, also revoked ones, oldest first. Secrets are not stored."""
    with context.session_factory() as session:
        rows = keys.list_keys(session)
        names = keys.learner_names(session, rows)
        return Page[KeyRead](items=[_read(row, names) for row in rows])


@router.delete("/{key_id}", response_model=KeyRead)
def revoke_key(
    key_id: Annotated[str, Path(pattern="^[0-9a-f]{12}$")], context: ContextDep, actor: ActorDep
) -> KeyRead:
    """Revoke a key: from now on it is refused, and what it follows ends.

    - **409** `last-admin-key`: no admin key would be left, or only ones that expire
    """
    with context.session_factory.begin() as session:
        row = key_changes.revoke_key(session, actor, key_id)
        read = _read(row, keys.learner_names(session, [row]))
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


def _read(row: KeyRow, names: Mapping[str, str]) -> KeyRead:
    ids = row.learner_ids
    return KeyRead(
        id=row.id,
        name=row.name,
        role=cast("Role", row.role),
        learners=None if ids is None else sorted(names[id_] for id_ in ids if id_ in names),
        quotas=row.quotas,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
        created_at=row.created_at,
        revoked_at=row.revoked_at,
    )
