"""The page that unlearns: says beforehand what goes and what stays, and does it for who types the learner's name."""

from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Query, Request, Response

from registry.errors import RegistryError
from service.dashboard.pages import PageRoute, as_problem, page, see
from service.dashboard.sentences import sentence
from service.dashboard.unlearn_view import Going, going, unlearn_page
from service.dependencies import ActorDep, AppContext, ContextDep
from service.http.demands import demands, form_bytes
from service.http.idempotency import IdempotentRequest
from service.http.roles import PrincipalDep, requires
from service.labels import MAX_LABEL
from service.problems import Problem
from service.schemas.base import MAX_INT, LearnerName
from service.schemas.tasks import UnlearnCreate
from service.use_cases.unlearning import preview, queue_unlearning

MOST_CHOSEN = 200
MOST_TEXT = 8 * MAX_LABEL
MOST_NAME = 100
SENTENCES = {
    "not-named": "The name does not fit: nothing was done. Type the name of the learner to unlearn this.",
    "unknown-content": "The learner does not know some of it any more: choose again.",
    "nothing-would-remain": "That is everything that it knows. A learner as a whole is deleted in a terminal: "
    "filopodia delete",
}
"""What this page says of a problem, where the words of other pages do not fit."""

Index = Annotated[int, Query(ge=1, le=MAX_INT)]
Label = Annotated[str, Query(max_length=MOST_TEXT)]

router = APIRouter(
    prefix="/learners/{name}/unlearn", route_class=PageRoute, dependencies=[requires("trainer")]
)


@router.get("")
def show_form(
    name: LearnerName,
    context: ContextDep,
    viewer: PrincipalDep,
    task: Annotated[list[Index] | None, Query(max_length=MOST_CHOSEN)] = None,
    label: Annotated[list[Label] | None, Query(alias="class", max_length=MOST_CHOSEN)] = None,
    problem: Annotated[str | None, Query(max_length=50)] = None,
) -> Response:
    """Show what can be unlearned and, once something is chosen, what would go with it."""
    tasks, labels = task or [], label or []
    goes, refusal = None, problem
    try:
        if tasks or labels:
            goes = _going(context, name, tasks, labels)
    except (Problem, RegistryError) as error:
        refusal = problem or as_problem(error).code
    with context.session_factory() as session:
        shown = unlearn_page(session, name, tasks, labels)
    return page(
        "unlearn.html",
        viewer,
        section="learners",
        notice=SENTENCES.get(refusal or "") or sentence(refusal),
        name=name,
        shown=shown,
        going=goes,
        task_list=tasks,
        labels=labels,
    )


@router.post("")
@demands(max_bytes=form_bytes, is_idempotent=True)
def unlearn(
    name: LearnerName,
    request: Request,
    context: ContextDep,
    actor: ActorDep,
    viewer: PrincipalDep,
    head: Annotated[int, Form(ge=0, le=MAX_INT)],
    task: Annotated[
        list[Annotated[int, Form(ge=1, le=MAX_INT)]] | None, Form(max_length=MOST_CHOSEN)
    ] = None,
    label: Annotated[
        list[Annotated[str, Form(max_length=MOST_TEXT)]] | None,
        Form(alias="class", max_length=MOST_CHOSEN),
    ] = None,
    learner: Annotated[str, Form(max_length=MOST_NAME)] = "",
) -> Response:
    """Queue the task that unlearns what was chosen, if the learner's name was typed; go to the learner's page."""
    tasks, labels = task or [], label or []
    try:
        if learner.strip() != name:
            return see(_address(name, tasks, labels, "not-named"))
        body = _asked(tasks, labels, head)
        with context.session_factory() as session:
            context.quotas.require_day(session, viewer, 0)
        once = IdempotentRequest.of(request, context.session_factory, "")
        queue_unlearning(context, actor, name, body, once)
    except (Problem, RegistryError) as error:
        code = as_problem(error).code
        if code in ("learner-not-found", "rate-limited"):
            raise
        return see(_address(name, tasks, labels, code))
    context.doorbell.wake()
    return see(f"/admin/learners/{name}?done=unlearning")


def _asked(tasks: list[int], labels: list[str], head: int | None = None) -> UnlearnCreate:
    # A label in a form is one that the page has offered, so it needs no other check than whether it is known.
    values: dict[str, Any] = {"tasks": tasks, "classes": labels, "expected_head_version": head}
    if not tasks and not labels:
        raise Problem("validation", "Choose at least one task or class.")
    return UnlearnCreate.model_construct(name=None, max_forgetting=None, **values)


def _going(context: AppContext, name: str, tasks: list[int], labels: list[str]) -> Going:
    """Return what would go.

    Raises:
        Problem, RegistryError: As `service.use_cases.unlearning.preview`.
    """
    preview(context, name, _asked(tasks, labels))
    with context.session_factory() as session:
        return going(session, name, tasks, labels)


def _address(name: str, tasks: list[int], labels: list[str], problem: str) -> str:
    query = [("task", str(index)) for index in tasks] + [("class", label) for label in labels]
    return f"/admin/learners/{name}/unlearn?{urlencode([*query, ('problem', problem)])}"
