"""The gallery of a learner's classes, and the form that renames and hides them."""

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Query, Response
from starlette.responses import RedirectResponse

from registry import learners
from registry.errors import ConflictError
from service.dashboard.gallery import gallery
from service.dashboard.pages import DONE, PageRoute, page
from service.dashboard.sentences import sentence
from service.dependencies import ActorDep, ContextDep
from service.http.roles import PrincipalDep, requires
from service.labels import MAX_LABEL, clean_label
from service.problems import Problem
from service.schemas.base import MAX_INT, LearnerName
from service.use_cases import class_changes

MOST_SEARCH = 200
MOST_TEXT = 8 * MAX_LABEL

router = APIRouter(prefix="/learners/{name}/classes", route_class=PageRoute)


@router.get("")
def show_classes(
    name: LearnerName,
    context: ContextDep,
    viewer: PrincipalDep,
    search: Annotated[str, Query(max_length=MOST_SEARCH)] = "",
    number: Annotated[int, Query(alias="page", ge=1, le=MAX_INT)] = 1,
    problem: Annotated[str | None, Query(max_length=50)] = None,
    done: Annotated[str | None, Query(max_length=50)] = None,
) -> Response:
    """Show the classes of a learner as pictures."""
    with context.session_factory() as session:
        shown = gallery(session, name, search=search, page=number)
    return page(
        "classes.html",
        viewer,
        section="learners",
        notice=sentence(problem),
        done=DONE.get(done or ""),
        name=name,
        gallery=shown,
        search=search,
    )


@router.post("", dependencies=[requires("trainer")])
def change_class(
    name: LearnerName,
    context: ContextDep,
    actor: ActorDep,
    label: Annotated[str, Form(max_length=MOST_TEXT)],
    new_name: Annotated[str, Form(alias="name", max_length=MOST_TEXT)] = "",
    is_hidden: Annotated[bool, Form()] = False,
    min_score: Annotated[str, Form(max_length=20)] = "",
    search: Annotated[str, Form(max_length=MOST_SEARCH)] = "",
    number: Annotated[int, Form(alias="page", ge=1, le=MAX_INT)] = 1,
) -> Response:
    """Give a class another name in answers, hide it or show it again, and say from how many percent it is known.

    An empty name is its label, and no percentage any.
    """
    outcome = {"done": "class-changed"}
    try:
        wanted = clean_label(new_name) if new_name.strip() else None
        with context.session_factory.begin() as session:
            learner = learners.get_learner(session, name, lock=True)
            before = class_changes.find_class(session, learner, label)
            asked = {"name": wanted, "hidden": is_hidden, "min_score": _share(min_score)}
            class_changes.change_class(session, actor, learner, before, asked)
    except (ConflictError, Problem) as refusal:
        outcome = {"problem": refusal.code}
    else:
        context.watcher.show_classes()
    query = {"page": number, **({"search": search} if search else {}), **outcome}
    return RedirectResponse(f"/admin/learners/{name}/classes?{urlencode(query)}", status_code=303)


def _share(percent: str) -> float | None:
    """Read a percentage; None where nothing stands.

    Raises:
        Problem: `validation`, if it is none.

    Example:
        >>> _share("80"), _share("72.5 %"), _share(" ")
        (0.8, 0.725, None)
    """
    text = percent.replace("%", "").replace(",", ".").strip()
    if not text:
        return None
    try:
        value = round(float(text) / 100, 6)
    except ValueError:
        raise Problem("validation") from None
    if not 0 <= value <= 1:
        raise Problem("validation")
    return value or None
