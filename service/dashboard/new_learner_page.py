"""Creating a learner in the browser: its name, how it learns, and what it sees with."""

import re
import unicodedata
from dataclasses import dataclass, field
from itertools import count
from typing import Annotated

from fastapi import APIRouter, Form, Response

from models.backbone import BUNDLED, BackboneInfo, available_backbones
from models.strategies.artsy.strategy import Artsy
from models.strategies.catalog import CATALOG
from registry import learners
from registry.errors import LearnerExistsError, LearnerNotFoundError
from registry.postgres.database import Session
from service.dashboard.pages import PageRoute, page, see
from service.dependencies import Actor, ActorDep, AppContext, ContextDep
from service.http.roles import PrincipalDep, requires
from service.http.security import Principal
from service.problems import Problem
from service.schemas.base import LEARNER_NAME
from service.use_cases import learner_changes

SUGGESTED = "my-photos"
"""What a learner is called unless somebody has a better name."""
MOST_NAME = 200
FIELDS = {
    "unknown-strategy": "strategy",
    "invalid-config": "strategy",
    "unknown-backbone": "backbone",
}
"""Beside which field a problem is told."""
COST = {
    "bundled": "Nothing to download.",
    "file": "Its weights lie on this server: nothing to download.",
    "hub": "Its weights are downloaded when it is first used: the server needs the internet then.",
}
"""What a backbone costs before it can be used, by where it comes from."""
PLAIN = {
    "simplecil": "Compares a photo with the average of each class. Learns in a moment, and is less exact.",
    "ranpac": "Fits one formula to all that it has seen, within seconds. The order of the classes does not matter.",
    "ease": "Trains a small part of its own for each batch of photos. Every batch makes all answers slower.",
    "finetune": "Trains on the newest photos only and forgets the others. Shows what forgetting looks like.",
    "lwf": "Trains on the newest photos and tries to keep its old answers. Forgets much all the same.",
    "ewc": "Trains on the newest photos and holds in place what mattered before. Forgets much all the same.",
    "synaptic_intelligence": "Protects what mattered before while it trains. For more photos of known classes only.",
    "metaplasticity": "Has stiff and flexible parts, as brains do. For study, not for good answers.",
    "icarl": "Keeps some photos of each class for good, and compares with their average.",
    "joint": "Keeps all photos for good and trains on everything anew each time. Slow; shows what is possible.",
    "artsy_gaussian": "The default of earlier releases. Needs more photos of a class.",
    "artsy_paper": "The published method to the letter. Every batch of photos makes all answers slower.",
}
"""What a person should know of each strategy but the default; of others there is what the API says."""

router = APIRouter(
    prefix="/new-learner",
    route_class=PageRoute,
    dependencies=[requires("trainer", everywhere=True)],
)


@dataclass(frozen=True)
class Choice:
    """One of several things to choose from."""

    value: str
    title: str
    text: str


@dataclass(frozen=True)
class NewLearner:
    """What somebody wants a learner to be, and what is wrong with that, by field."""

    name: str
    strategy: str = Artsy.name
    backbone: str = BUNDLED
    errors: dict[str, str] = field(default_factory=dict)


@router.get("")
def show_form(context: ContextDep, viewer: PrincipalDep) -> Response:
    """Show the form that creates a learner."""
    with context.session_factory() as session:
        wanted = NewLearner(free_name(session))
    return _page(context, viewer, wanted, 200)


@router.post("")
def create(
    context: ContextDep,
    actor: ActorDep,
    viewer: PrincipalDep,
    name: Annotated[str, Form(max_length=MOST_NAME)] = "",
    strategy: Annotated[str, Form(max_length=MOST_NAME)] = Artsy.name,
    backbone: Annotated[str, Form(max_length=MOST_NAME)] = BUNDLED,
) -> Response:
    """Create a learner, and go to the page that teaches it."""
    wanted = NewLearner(name.strip(), strategy, backbone)
    if not re.fullmatch(LEARNER_NAME, wanted.name):
        return _refused(context, viewer, wanted, {"name": name_advice(wanted.name)}, 422)
    try:
        _create(context, actor, wanted)
    except LearnerExistsError as error:
        advice = "There is a learner of this name already. Choose another name."
        return _refused(context, viewer, wanted, {"name": advice}, Problem(error.code).status_code)
    except Problem as problem:
        where = FIELDS.get(problem.code, "name")
        advice = "This choice is not offered here. Choose one of those below."
        return _refused(context, viewer, wanted, {where: advice}, problem.status_code)
    return see(f"/admin/learners/{wanted.name}/teach")


def name_advice(name: str) -> str:
    """Say what is wrong with a learner's name, and what would do.

    Example:
        >>> name_advice("My Birds!")
        'Use small letters from a to z, digits and hyphens, at most 63. For example: my-birds'
    """
    if not name:
        return "Give the learner a name."
    near = similar_name(name)
    rule = "Use small letters from a to z, digits and hyphens, at most 63."
    return f"{rule} For example: {near}" if near else rule


def similar_name(text: str) -> str:
    """Return a learner's name that is as near to a text as such names allow; empty if nothing of it is left.

    Example:
        >>> similar_name("  Äpfel & Birnen"), similar_name("鳥")
        ('apfel-birnen', '')
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:63]


def free_name(session: Session) -> str:
    """Return a name that no learner has."""
    for number in count(1):
        name = SUGGESTED if number == 1 else f"{SUGGESTED}-{number}"
        try:
            learners.get_learner(session, name)
        except LearnerNotFoundError:
            return name
    raise AssertionError  # there is always a next number


def _create(context: AppContext, actor: Actor, wanted: NewLearner) -> None:
    config = learner_changes.choose(
        wanted.strategy, {}, wanted.backbone, weights=context.settings.backbone_weights
    )
    with context.session_factory.begin() as session:
        learner_changes.create_learner(
            session,
            actor,
            wanted.name,
            strategy=wanted.strategy,
            backbone=wanted.backbone,
            config=config,
            metadata={},
        )


def _refused(
    context: AppContext,
    viewer: Principal,
    wanted: NewLearner,
    errors: dict[str, str],
    status: int,
) -> Response:
    shown = NewLearner(wanted.name, wanted.strategy, wanted.backbone, errors)
    return _page(context, viewer, shown, status)


def _page(context: AppContext, viewer: Principal, wanted: NewLearner, status: int) -> Response:
    backbones = available_backbones(context.settings.backbone_weights)
    return page(
        "new_learner.html",
        viewer,
        section="learners",
        status=status,
        form=wanted,
        default=Artsy.name,
        strategies=[
            Choice(one.name, one.name, PLAIN.get(one.name, one.summary))
            for one in CATALOG
            if one is not Artsy
        ],
        bundled=BUNDLED,
        backbones=[_backbone(info) for info in backbones if info.name != BUNDLED],
    )


def _backbone(info: BackboneInfo) -> Choice:
    return Choice(info.name, info.name, f"{info.description}. {COST[info.source]}")
