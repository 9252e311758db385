"""The classes of a learner: listed, renamed, hidden."""

import json
from collections.abc import Sequence
from hashlib import sha256
from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Response

from registry import class_accuracy, learners
from registry.class_accuracy import ClassAccuracy
from registry.learners import ClassInfo
from registry.postgres.database import Session
from registry.tables import LearnerRow
from service.dependencies import ActorDep, ContextDep
from service.http.roles import requires
from service.http.strict_route import StrictRoute
from service.labels import KnownLabel
from service.problems import Problem
from service.schemas.base import LearnerName, Page
from service.schemas.learners import ClassRead, ClassUpdate
from service.schemas.measures import MeasureRead
from service.use_cases.class_changes import change_class, find_class

router = APIRouter(
    prefix="/v1/learners/{name}/classes",
    tags=["Learners"],
    route_class=StrictRoute,
    dependencies=[requires("reader")],
)

ClassLabel = Annotated[KnownLabel, Path(description="Label or name of the class")]


@router.get("", response_model=Page[ClassRead])
def list_classes(name: LearnerName, context: ContextDep) -> Page[ClassRead]:
    """List the classes of the live version in the order they were learned, also hidden ones.

    Accuracies are each class's own, with the version that learned it and with the live one.
    """
    with context.session_factory() as session:
        learner = learners.get_learner(session, name)
        table = learners.class_table(session, learner)
        items = _read(session, learner, table)
    return Page[ClassRead](items=items)


@router.get("/{label:path}", response_model=ClassRead)
def get_class(
    name: LearnerName, label: ClassLabel, response: Response, context: ContextDep
) -> ClassRead:
    """Read one class. The `ETag` stands for its name and whether it is hidden; send it as `If-Match` to change them.

    - **404** `learner-not-found`, `class-not-found`
    """
    with context.session_factory() as session:
        learner = learners.get_learner(session, name)
        entry = find_class(session, learner, label)
        [read] = _read(session, learner, [entry])
    response.headers["ETag"] = _etag(entry)
    return read


@router.patch("", response_model=ClassRead, dependencies=[requires("trainer")])
def update_class_by_query(
    name: LearnerName,
    label: Annotated[KnownLabel, Query(description="Label or name of the class")],
    body: ClassUpdate,
    response: Response,
    context: ContextDep,
    actor: ActorDep,
    if_match: Annotated[str | None, Header(max_length=200)] = None,
) -> ClassRead:
    """Do the same as `PATCH .../classes/{label}` for a label that an address cannot hold, such as `..`.

    New classes cannot be called so any more; one that is from before can be renamed here.
    """
    return update_class(name, label, body, response, context, actor, if_match)


@router.patch("/{label:path}", response_model=ClassRead, dependencies=[requires("trainer")])
def update_class(
    name: LearnerName,
    label: ClassLabel,
    body: ClassUpdate,
    response: Response,
    context: ContextDep,
    actor: ActorDep,
    if_match: Annotated[str | None, Header(max_length=200)] = None,
) -> ClassRead:
    """Rename or hide a class of the live version. Nothing is learned anew; it is effective within a second.

    `name` is what answers, the history, confusions and feedback call it from then on, also what was answered before;
    uploads may use it as well as the label. Versions, samples, tasks and bundles keep the label it was learned with.

    A `hidden` class is never answered, and the probabilities of the others sum to 1 without it. It does not unlearn:
    the class stays in every version, and `accuracy` is measured with it; `POST .../unlearn` takes it out for good.

    From `min_score` on an answer of the class counts as known. Below it `known` is false and `below` says what the
    score did not reach; label, score and the other classes stay. Accuracy is measured without it.

    - **404** `learner-not-found`, `class-not-found`
    - **409** `label-known`, `label-confusable`: the name is, or looks like, the label or name of another class
    - **412** `precondition-failed`: `If-Match` names an older state
    """
    with context.session_factory.begin() as session:
        learner = learners.get_learner(session, name, lock=True)
        before = find_class(session, learner, label)
        if if_match not in (None, "*", _etag(before)):
            raise Problem("precondition-failed")
        asked = body.model_dump(exclude_unset=True)
        after = change_class(session, actor, learner, before, asked)
        [read] = _read(session, learner, [after])
    context.watcher.show_classes()
    response.headers["ETag"] = _etag(after)
    return read


def _read(session: Session, learner: LearnerRow, entries: Sequence[ClassInfo]) -> list[ClassRead]:
    recalls = class_accuracy.of_classes(session, learner, entries)
    return [_read_class(entry, recalls[entry.label]) for entry in entries]


def _read_class(entry: ClassInfo, found: ClassAccuracy) -> ClassRead:
    learned, now = found.learned, found.now
    return ClassRead(
        label=entry.label,
        name=entry.name,
        hidden=entry.is_hidden,
        min_score=entry.min_score,
        task=entry.task_index,
        samples={"train": entry.n_train, "eval": entry.n_eval},
        accuracy_learned=learned.value if learned else None,
        n_learned=learned.n if learned else 0,
        accuracy_now=now.value if now else None,
        n_now=now.n if now else 0,
        measured_learned=MeasureRead.of(learned),
        measured_now=MeasureRead.of(now),
    )


def _etag(entry: ClassInfo) -> str:
    content = json.dumps([entry.label, entry.name, entry.is_hidden, entry.min_score])
    return f'"{sha256(content.encode()).hexdigest()[:24]}"'
