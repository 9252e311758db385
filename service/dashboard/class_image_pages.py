"""The page of one class: its images, moved to where they belong, removed, and put back."""

from typing import Annotated, Literal
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Form, Path, Query, Response

from registry import class_accuracy, learners
from registry.errors import RegistryError
from service.dashboard import insight_view, views
from service.dashboard.class_images import IMAGES_SHOWN, Show, class_images
from service.dashboard.pages import PageRoute, as_problem, page, see
from service.dashboard.sentences import sentence
from service.dependencies import Actor, ActorDep, AppContext, ContextDep
from service.http.roles import PrincipalDep, requires
from service.http.security import Principal
from service.labels import MAX_LABEL
from service.problems import Problem
from service.schemas.base import MAX_INT, LearnerName, PublicId
from service.use_cases.corrections import add_correction

MOST_TEXT = 8 * MAX_LABEL
Label = Annotated[str, Path(max_length=MOST_TEXT)]
SENTENCES = {
    "nothing-chosen": "Choose at least one image first.",
    "no-class-chosen": "Say which class the images show.",
    "unknown-content": "The learner knows no class of that name, or one of the images is gone. A new class is taught "
    "first, with an image of its own.",
}
"""What this page says of a problem, where the words of other pages do not fit."""

router = APIRouter(prefix="/learners/{name}", route_class=PageRoute)


@router.get("/classes/{label:path}")
def show_class(
    name: LearnerName,
    label: Label,
    context: ContextDep,
    viewer: PrincipalDep,
    show: Show = "all",
    number: Annotated[int, Query(alias="page", ge=1, le=MAX_INT)] = 1,
    task: PublicId | None = None,
    problem: Annotated[str | None, Query(max_length=50)] = None,
) -> Response:
    """Show the images of a class."""
    with context.session_factory() as session:
        shown = class_images(session, name, label, show=show, page=number, task_id=task)
        known = views.known_tasks(session, name)
        learner = learners.get_learner(session, name)
        found = class_accuracy.of_classes(session, learner, [shown.info])
    insights = insight_view.look(context, learner, shown.info.label)
    return page(
        "class.html",
        viewer,
        section="learners",
        notice=SENTENCES.get(problem or "") or sentence(problem),
        name=name,
        known=known,
        shown=shown,
        accuracy=found[shown.info.label],
        insights=insights,
        address=address_of(name, shown.info.label),
    )


@router.post("/classes/{label:path}", dependencies=[requires("trainer")])
def correct_images(
    name: LearnerName,
    label: Label,
    context: ContextDep,
    actor: ActorDep,
    viewer: PrincipalDep,
    action: Annotated[Literal["move", "remove", "restore"], Form()],
    image: Annotated[list[PublicId] | None, Form(max_length=IMAGES_SHOWN)] = None,
    to: Annotated[str, Form(max_length=MOST_TEXT)] = "",
    show: Annotated[Show, Form()] = "all",
    number: Annotated[int, Form(alias="page", ge=1, le=MAX_INT)] = 1,
) -> Response:
    """Move the chosen images to another class, remove them, or put removed ones back; go back to the page."""
    target = {"move": to.strip(), "remove": None, "restore": label}[action]
    here: dict[str, object] = {"show": show, "page": number}
    if not image or target == "":
        code = "no-class-chosen" if image else "nothing-chosen"
        return see(f"{address_of(name, label)}?{urlencode({**here, 'problem': code})}")
    changes = [(sample_id, target) for sample_id in dict.fromkeys(image)]
    return _ask(context, actor, viewer, name, label, here, changes=changes)


@router.post("/corrections/{task_id}/undo", dependencies=[requires("trainer")])
def undo_correction(
    name: LearnerName,
    task_id: PublicId,
    context: ContextDep,
    actor: ActorDep,
    viewer: PrincipalDep,
    label: Annotated[str, Form(max_length=MOST_TEXT)],
    show: Annotated[Show, Form()] = "all",
) -> Response:
    """Take a correction back, and go back to the page of the class."""
    return _ask(context, actor, viewer, name, label, {"show": show}, undo=task_id)


def address_of(name: str, label: str) -> str:
    """Return the address of the page of a class.

    Example:
        >>> address_of("birds", "a/../b?")
        '/admin/learners/birds/classes/a%2F..%2Fb%3F'
    """
    return f"/admin/learners/{name}/classes/{quote(label, safe='')}"


def _ask(
    context: AppContext,
    actor: Actor,
    viewer: Principal,
    name: str,
    label: str,
    here: dict[str, object],
    *,
    changes: list[tuple[str, str | None]] | None = None,
    undo: str | None = None,
) -> Response:
    """Queue a correction and go to the page of the class, which speaks of it."""
    try:
        with context.session_factory.begin() as session:
            context.quotas.require_day(session, viewer, 0)
            task = add_correction(session, actor, name, changes=changes, undo=undo)
            here = {**here, "task": task.id}
    except (RegistryError, Problem) as refusal:
        if as_problem(refusal).code == "rate-limited":
            raise  # its page says for how long
        here = {**here, "problem": as_problem(refusal).code}
    else:
        context.doorbell.wake()
    return see(f"{address_of(name, label)}?{urlencode(here)}")
