"""Review: the kept images that wait for a person's word, and what is settled of many of them at once."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import AwareDatetime

from registry import classes, learners
from registry.reviews import Wanted
from service.dependencies import ActorDep, ContextDep, Cursor, Limit, link_next
from service.http.roles import PrincipalDep, requires
from service.http.strict_route import StrictRoute
from service.schemas.base import MAX_INT, LearnerName, Page, PublicId
from service.schemas.reviews import ReviewActRead, ReviewCreate, ReviewItem
from service.use_cases import reviewing
from service.use_cases.prediction_views import READ_OWN_WRITES_S
from service.use_cases.review_groups import place_of

router = APIRouter(
    prefix="/v1",
    tags=["Predictions"],
    route_class=StrictRoute,
    dependencies=[requires("reader")],
)
predictor = [requires("predictor")]

Share = Annotated[float | None, Query(ge=0, le=1)]


@router.get("/learners/{name}/review", response_model=Page[ReviewItem])
def list_review(
    name: LearnerName,
    request: Request,
    response: Response,
    context: ContextDep,
    label: Annotated[str | None, Query(max_length=200, pattern=r"^[^\x00]*$")] = None,
    known: bool | None = None,
    min_score: Share = None,
    max_score: Share = None,
    min_novelty: Share = None,
    max_novelty: Share = None,
    since: AwareDatetime | None = None,
    until: AwareDatetime | None = None,
    version: Annotated[int | None, Query(ge=1, le=MAX_INT)] = None,
    sure: bool = False,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[ReviewItem]:
    """List the kept images about which a person's word would be most useful, those first.

    Near-duplicates are one item, and so are images that look like nothing known but like one another: what is said of
    an item's `images` settles all of them. `label` and `version` are those of the answer. Images of which the answer is
    sure are left out, unless `sure=true`. The 1,000 most useful images are put together at once.
    """
    context.writer.wait_written(READ_OWN_WRITES_S)
    after = None if cursor is None else place_of(cursor)
    with context.session_factory() as session:
        learner = learners.get_learner(session, name)
        shown = classes.shown(session, learner.id)
        wanted = Wanted(
            label=None if label is None else classes.resolve(session, learner.id, label),
            known=known,
            min_score=min_score,
            max_score=max_score,
            min_novelty=min_novelty,
            max_novelty=max_novelty,
            since=since,
            until=until,
            version=version,
            sure=sure,
        )
        found = reviewing.find(session, learner.id, wanted)
    left = [group for group in found.groups if after is None or group.place < after]
    next_cursor = left[limit - 1].cursor if len(left) > limit else None
    link_next(request, response, next_cursor)
    return Page[ReviewItem](
        items=[reviewing.read_group(group, shown) for group in left[:limit]],
        next_cursor=next_cursor,
    )


@router.post("/learners/{name}/review", response_model=ReviewActRead, dependencies=predictor)
def settle_images(
    name: LearnerName,
    body: ReviewCreate,
    context: ContextDep,
    principal: PrincipalDep,
    actor: ActorDep,
) -> ReviewActRead:
    """Say what many images show, that what was answered of them is right, or that nobody is to be asked about them.

    What is said is feedback: a task with `from_feedback` learns from it. Images that do not wait any more are left out,
    so that sending it again changes nothing.

    - **409** `label-confusable`: the label differs from a class only in case, width or form
    """
    context.writer.wait_written(READ_OWN_WRITES_S)
    keys = {(image.prediction, image.index) for image in body.images}
    with context.session_factory.begin() as session:
        if body.label is not None:
            return reviewing.name_images(
                session, actor, name, keys, body.label, key_id=principal.key_id
            )
        if body.confirm:
            return reviewing.confirm_images(session, actor, name, keys, key_id=principal.key_id)
        return reviewing.discard_images(session, actor, name, keys)


@router.delete(
    "/learners/{name}/review/{act_id}", response_model=ReviewActRead, dependencies=predictor
)
def undo_review(
    name: LearnerName, act_id: PublicId, context: ContextDep, actor: ActorDep
) -> ReviewActRead:
    """Take back what one request has settled: its images wait again, but for those that a task has taken."""
    with context.session_factory.begin() as session:
        return reviewing.undo_act(session, actor, name, act_id)
