"""Review in the browser: a grid of the images that wait for a person's word, many of them settled at once."""

from collections.abc import Mapping
from io import BytesIO
from typing import Annotated, Literal, get_args
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Path, Query, Request, Response
from PIL import Image
from pydantic import Field

from registry import classes, feedback, learners, predictions
from registry.errors import BlobMissingError, ConflictError, PredictionImageNotFoundError
from registry.reviews import Key
from service.dashboard.pages import PageRoute, page, picture, see
from service.dashboard.review_filters import FiltersDep, Show
from service.dashboard.review_view import card_of, names_of, opened, page_of, pending_of, read_key
from service.dashboard.sentences import sentence
from service.dependencies import Actor, ActorDep, AppContext, ContextDep, Cursor
from service.http.demands import demands, json_bytes
from service.http.roles import PrincipalDep, requires
from service.http.security import Principal
from service.intake.uploads import Upload
from service.labels import MAX_LABEL, clean_label
from service.problems import Problem
from service.schemas.base import MAX_INT, LearnerName, PublicId
from service.schemas.reviews import MOST_IMAGES, ReviewActRead
from service.schemas.tasks import TaskOptions
from service.use_cases import reviewing, task_creation
from service.use_cases.prediction_views import READ_OWN_WRITES_S
from service.use_cases.review_groups import place_of

SMALL_SIDE = 256
"""Longest side of a picture in the grid."""
DAY_S = 86_400
Act = Literal["name", "confirm", "discard"]
DONE = {
    "name": "{} named.",
    "confirm": "{} confirmed.",
    "discard": "{} discarded: nobody is asked about them again.",
    "undo": "{} back in the grid.",
}
"""What a page says when images were settled by the form that led to it."""
_FORM_TEXT = 64 * MOST_IMAGES
Code = Annotated[str | None, Query(max_length=50)]

router = APIRouter(route_class=PageRoute)
predictor = [requires("predictor")]
trainer = [requires("trainer")]


@router.get("/learners/{name}/review")
def show_review(
    name: LearnerName,
    context: ContextDep,
    viewer: PrincipalDep,
    filters: FiltersDep,
    cursor: Cursor = None,
    inside: Annotated[str, Query(max_length=60)] = "",
    problem: Code = None,
    done: Code = None,
    n: Annotated[int, Query(ge=0, le=MAX_INT)] = 0,
    act: Annotated[PublicId | None, Query()] = None,
) -> Response:
    """Show what waits, most useful first; with `inside`, each image of the group with that image by itself."""
    context.writer.wait_written(READ_OWN_WRITES_S)
    after = None if cursor is None else place_of(cursor)
    with context.session_factory() as session:
        learner = learners.get_learner(session, name)
        shown = classes.shown(session, learner.id)
        found = reviewing.find(session, learner.id, filters.wanted(session, learner.id))
        groups = found.groups
        if inside:
            groups = opened(groups, inside)
        cards, next_cursor = page_of(groups, after)
        said = feedback.count_pending(session, learner.id)
        learned = reviewing.learned_labels(session, learner.id)
        versions = range(1, learner.head_version + 1)
    query = filters.query | ({"inside": inside} if inside else {})
    return page(
        "review.html",
        viewer,
        section="learners",
        notice=sentence(problem),
        done=_done(done, n),
        act=act if done in get_args(Act) and n else None,
        name=name,
        cards=[card_of(group, shown) for group in cards],
        n_images=found.n_images,
        n_groups=len(groups),
        is_cut=found.is_cut,
        n_without_look=found.n_without_look,
        filters=filters,
        inside=inside,
        pending=pending_of(said, learned, shown, min_images=context.settings.min_images),
        names=names_of(said, learned, shown),
        versions=versions,
        cursor=cursor,
        next=_address(name, query, cursor=next_cursor) if next_cursor else None,
        first=_address(name, query),
        whole=_address(name, filters.query),
        here=_address(name, query, **({"cursor": cursor} if cursor else {})),
        undo=_address(name, query, path="/undo", **({"cursor": cursor} if cursor else {})),
        tabs={each: _address(name, {**filters.query, "show": each}) for each in get_args(Show)},
        max_label=MAX_LABEL,
    )


@router.post("/learners/{name}/review", dependencies=predictor)
@demands(max_bytes=json_bytes)
def settle(
    name: LearnerName,
    context: ContextDep,
    actor: ActorDep,
    viewer: PrincipalDep,
    filters: FiltersDep,
    what: Annotated[Act, Form(alias="act")],
    images: Annotated[list[Annotated[str, Field(max_length=_FORM_TEXT)]] | None, Form()] = None,
    label: Annotated[str, Form(max_length=8 * MAX_LABEL)] = "",
    cursor: Cursor = None,
    inside: Annotated[str, Query(max_length=60)] = "",
) -> Response:
    """Name, confirm or discard the images that were chosen, and go back to the grid."""
    query = filters.query | ({"inside": inside} if inside else {})
    query |= {"cursor": cursor} if cursor else {}
    context.writer.wait_written(READ_OWN_WRITES_S)
    keys = {key for text in images or [] for one in text.split() if (key := read_key(one))}
    try:
        if not keys:
            raise Problem("missing-image")
        settled = _settle(context, actor, viewer, name, what, keys, label)
    except (ConflictError, Problem) as refusal:
        return see(_address(name, query, problem=refusal.code))
    return see(_address(name, query, done=what, n=str(settled.images), act=settled.id))


@router.post("/learners/{name}/review/undo", dependencies=predictor)
def undo(
    name: LearnerName,
    context: ContextDep,
    actor: ActorDep,
    filters: FiltersDep,
    act: Annotated[PublicId, Form()],
    cursor: Cursor = None,
    inside: Annotated[str, Query(max_length=60)] = "",
) -> Response:
    """Take back what was settled last, and go back to the grid."""
    query = filters.query | ({"inside": inside} if inside else {})
    query |= {"cursor": cursor} if cursor else {}
    with context.session_factory.begin() as session:
        undone = reviewing.undo_act(session, actor, name, act)
    return see(_address(name, query, done="undo", n=str(undone.images)))


@router.post("/learners/{name}/review/learn", dependencies=trainer)
@demands(is_idempotent=True, max_bytes=json_bytes)
def learn(
    name: LearnerName,
    request: Request,
    context: ContextDep,
    actor: ActorDep,
    viewer: PrincipalDep,
) -> Response:
    """Queue a task of all that was said and can be learned, and go to the learner's page."""
    try:
        task_creation.check_before(context, name, viewer)
        with Upload() as upload:
            upload.options = TaskOptions(mode="extend", from_feedback=True)
            task_creation.create_task(context, actor, name, request, upload)
    except (ConflictError, Problem) as refusal:
        return see(_address(name, {}, problem=refusal.code))
    context.doorbell.wake()
    return see(f"/admin/learners/{name}")


@router.get("/predictions/{prediction_id}/images/{index}")
def show_image(
    prediction_id: PublicId, index: Annotated[int, Path(ge=0, le=MAX_INT)], context: ContextDep
) -> Response:
    """Return a kept image, small."""
    with context.session_factory() as session:
        sha256 = predictions.get_image(session, prediction_id, index).blob_sha256
    try:
        png = context.blobs.get(sha256)
    except BlobMissingError as error:
        raise PredictionImageNotFoundError from error
    return picture(_small(png), max_age_s=DAY_S, media_type="image/jpeg")


def _small(png: bytes) -> bytes:
    with Image.open(BytesIO(png)) as image:
        small = image.convert("RGB")
    small.thumbnail((SMALL_SIDE, SMALL_SIDE))
    jpeg = BytesIO()
    small.save(jpeg, format="JPEG", quality=85)
    return jpeg.getvalue()


def _settle(
    context: AppContext,
    actor: Actor,
    viewer: Principal,
    name: str,
    what: Act,
    keys: set[Key],
    label: str,
) -> ReviewActRead:
    with context.session_factory.begin() as session:
        if what == "name":
            return reviewing.name_images(
                session, actor, name, keys, clean_label(label), key_id=viewer.key_id
            )
        if what == "confirm":
            return reviewing.confirm_images(session, actor, name, keys, key_id=viewer.key_id)
        return reviewing.discard_images(session, actor, name, keys)


def _done(code: str | None, n: int) -> str | None:
    if code not in DONE:
        return None
    return DONE[code].format(f"{n:,} {'image' if n == 1 else 'images'}")


def _address(name: str, query: Mapping[str, str], path: str = "", **more: str) -> str:
    asked = urlencode({**query, **more})
    return f"/admin/learners/{name}/review{path}{'?' if asked else ''}{asked}"
