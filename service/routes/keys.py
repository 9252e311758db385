"""API keys: created, listed, revoked."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response, status
from fastapi.responses import JSONResponse

from registry import keys
from service.dependencies import BodyDep, CollaboratorsDep, requires
from service.http.idempotency import Once, body_digest
from service.http.problems import Problem
from service.http.strict_json import StrictRoute
from service.schemas.base import Page
from service.schemas.operations import KeyCreate, KeyCreated, KeyRead

router = APIRouter(
    prefix="/v1/keys",
    tags=["Keys"],
    route_class=StrictRoute,
    dependencies=[requires("admin")],
)


@router.post("", status_code=status.HTTP_201_CREATED, response_model=KeyCreated)
def create_key(body: KeyCreate, raw: BodyDep, request: Request, on: CollaboratorsDep) -> Response:
    """Create a key. `key` in the answer is the only time it can be read.

    Roles: `reader` reads, `predictor` also predicts, `trainer` also creates learners and tasks, `admin` does all.
    Repeated with the same `Idempotency-Key`, the answer has `key: null`: secrets are not kept. Revoke that key then.
    """
    with Once.of(request, on.session_factory, body_digest(request, raw)) as once:
        if once.replay is not None:
            return once.replay
        with on.session_factory.begin() as session:
            row, key = keys.create_key(session, body.name, body.role)
            shown = KeyRead.model_validate(row).model_dump(mode="json")
            headers = {"Location": f"/v1/keys/{row.id}"}
            once.answer(session, status.HTTP_201_CREATED, {**shown, "key": None}, headers)
    on.keys.refresh()
    return JSONResponse({**shown, "key": key}, status.HTTP_201_CREATED, headers)


@router.get("", response_model=Page[KeyRead])
def list_keys(on: CollaboratorsDep) -> Page[KeyRead]:
    """List all keys, also revoked ones, oldest first. Secrets are not stored."""
    with on.session_factory() as session:
        return Page[KeyRead](items=[KeyRead.model_validate(row) for row in keys.list_keys(session)])


@router.delete("/{key_id}", response_model=KeyRead)
def revoke_key(
    key_id: Annotated[str, Path(pattern="^[0-9a-f]{12}$")], on: CollaboratorsDep
) -> KeyRead:
    """Revoke a key: from now on it is refused.

    - **409** `last-admin-key`: there would be no admin key left
    """
    with on.session_factory.begin() as session:
        row = keys.revoke_key(session, key_id)
        if not any(key.role == "admin" for key in keys.active_keys(session).values()):
            raise Problem("last-admin-key")
        read = KeyRead.model_validate(row)
    on.keys.refresh()
    return read
