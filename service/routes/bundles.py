"""A version of a learner as one file: a bundle for another installation, or an ONNX model for other software."""

from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Path, Query, Request, Response, status
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from registry import bundles, learners, versions
from service.dependencies import ActorDep, ContextDep
from service.http.demands import bundle_bytes, demands
from service.http.openapi import BUNDLE_ANSWER, BUNDLE_BODY, ONNX_ANSWER
from service.http.roles import PrincipalDep, requires
from service.http.strict_route import StrictRoute
from service.intake.spool import Spool
from service.schemas.base import MAX_INT, LearnerName
from service.schemas.learners import LearnerRead
from service.use_cases.bundle_files import MEDIA_TYPE, compose
from service.use_cases.bundle_import import import_bundle
from service.use_cases.bundles import receive
from service.use_cases.onnx_files import MEDIA_TYPE as ONNX_MEDIA_TYPE
from service.use_cases.onnx_files import make_onnx_file
from service.use_cases.serving import choose_snapshot

router = APIRouter(
    prefix="/v1/learners",
    tags=["Bundles"],
    route_class=StrictRoute,
    dependencies=[requires("trainer")],
)


@router.get("/{name}/versions/{number}/bundle", response_class=Response, responses=BUNDLE_ANSWER)
def get_bundle(
    name: LearnerName,
    number: Annotated[int, Path(ge=1, le=MAX_INT)],
    context: ContextDep,
    if_none_match: Annotated[str | None, Header(max_length=200)] = None,
) -> Response:
    """Download a version whole, as a tar: everything it has learned, without images and keys.

    Import it elsewhere with `POST /v1/learners/import`. What a strategy with `keeps_images` has kept of its training
    images is part of what it learned, and so of this file. It needs the role `trainer`: it is the whole model.

    - **404** `learner-not-found`, `version-not-found`
    - **503** `version-damaged`: a stored file is missing
    """
    with context.session_factory() as session:
        learner = learners.get_learner(session, name)
        version = versions.get_version(session, learner.id, number)
        provenance = bundles.read_provenance(session, version)
    bundle = compose(learner, version, provenance, context.blobs)
    if if_none_match == bundle.etag:
        return Response(status_code=status.HTTP_304_NOT_MODIFIED, headers={"ETag": bundle.etag})
    headers = {
        "ETag": bundle.etag,
        "Content-Length": str(bundle.size_bytes),
        "Content-Disposition": f'attachment; filename="{name}-v{number}.tar"',
    }
    return StreamingResponse(bundle.chunks(context.blobs), media_type=MEDIA_TYPE, headers=headers)


@router.get("/{name}/versions/{number}/export", response_class=Response, responses=ONNX_ANSWER)
async def export_version(
    name: LearnerName,
    number: Annotated[int, Path(ge=1, le=MAX_INT)],
    context: ContextDep,
    principal: PrincipalDep,
    format: Annotated[Literal["onnx"], Query(description="What to write it as")] = "onnx",
) -> Response:
    """Download a version as an ONNX model, which answers with ONNX Runtime alone.

    Backbone, heads and calibration are one graph: `images`, uint8 `(B, S, S, 3)`, become `scores`, `novelty`, `known`
    and `would_fire`. Its metadata say which classes the scores are of, and how an image is brought to that size.
    Classes are called as they are now, and hidden ones are left out. Silent sub-networks are not in it. It needs the
    role `trainer`: it is the whole model.

    - **404** `learner-not-found`, `version-not-found`
    - **409** `cannot-export`: the strategy takes other steps for every image; `nothing-learned`; `all-classes-hidden`
    - **503** `version-damaged`: a stored file is missing
    """
    snapshot = await choose_snapshot(
        context, name, version=number, min_version=None, owner=principal.key_id
    )
    file = await make_onnx_file(context, snapshot)
    headers = {
        "Content-Length": str(file.size_bytes),
        "Content-Disposition": f'attachment; filename="{name}-v{number}.onnx"',
    }
    return StreamingResponse(file.chunks(), media_type=ONNX_MEDIA_TYPE, headers=headers)


@router.post(
    "/import",
    status_code=status.HTTP_201_CREATED,
    response_model=LearnerRead,
    dependencies=[requires("trainer", everywhere=True)],
    openapi_extra=BUNDLE_BODY,
)
@demands(max_bytes=bundle_bytes, is_spooled=True, is_idempotent=True)
async def import_learner(
    request: Request,
    context: ContextDep,
    actor: ActorDep,
    name: Annotated[LearnerName | None, Query(description="Instead of the one it had")] = None,
) -> Response:
    """Create a learner from a bundle, the body. Its version 1 answers as the exported one; learning goes on from it.

    The bundle is checked to the last tensor and loaded once before anything is created. Tasks keep their indexes; their
    images, and the learner's older versions, stay where they were.

    - **409** `learner-exists`: the name is taken
    - **413** `body-too-large`
    - **415** `artifact-format-unsupported`: it is no tar, or of a later release
    - **422** `archive-rejected`: the tar is damaged, or none of ours; `artifact-invalid`: what is in it does not hold
      together; `unknown-strategy`, `invalid-config`; `unknown-backbone`, `backbone-differs`: this installation lacks
      the weights it was learned on
    - **503** `overloaded`: too many uploads at once; **507** `insufficient-storage`
    """
    context.decoder.uploads.require(actor.key_id)
    await run_in_threadpool(
        context.blobs.require_space, 0, floor_bytes=context.settings.min_free_bytes
    )
    with Spool() as spool:
        await receive(request, spool)
        answer = await context.decoder.uploads.run(
            actor.key_id, partial(import_bundle, context, actor, name, request, spool)
        )
    context.watcher.wake()
    return answer
