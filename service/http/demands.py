"""What a request has to bring and may, known before its body is read: declared at each route, kept in one table."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from re import Pattern
from typing import Any, TypeVar

from fastapi.routing import iter_route_contexts
from starlette.routing import BaseRoute

from service.settings import ServiceSettings

BODY_OVERHEAD = 1024 * 1024
"""Room for the multipart framing around files that together reach a limit."""
FORM_BYTES = 64 * 1024
"""A form of the dashboard without a file."""

MaxBytes = Callable[[ServiceSettings], int]
EndpointT = TypeVar("EndpointT", bound=Callable[..., Any])


def json_bytes(settings: ServiceSettings) -> int:
    """Return how long a body of JSON may be."""
    return settings.max_json_bytes


def form_bytes(settings: ServiceSettings) -> int:
    """Return how long a form without files may be."""
    return FORM_BYTES


def image_bytes(settings: ServiceSettings) -> int:
    """Return how long a body with images to predict may be."""
    return settings.max_predict_bytes + BODY_OVERHEAD


def task_bytes(settings: ServiceSettings) -> int:
    """Return how long a body with images to learn may be."""
    return settings.max_task_bytes + BODY_OVERHEAD


def bundle_bytes(settings: ServiceSettings) -> int:
    """Return how long a bundle may be."""
    return settings.max_bundle_bytes


@dataclass(frozen=True, kw_only=True)
class Demands:
    """What is known of a request by its route. The defaults are the strictest."""

    max_bytes: MaxBytes = json_bytes
    """How long the body may be that comes with a key; see `STRANGER_BODY_BYTES` for one without."""
    is_spooled: bool = False
    """Whether the body is written to disk as it comes, unless it is JSON."""
    predicts: bool = False
    """Whether it is answered with a prediction: it draws images, changes nothing, and is not logged."""
    is_idempotent: bool = False
    """Whether it takes an `Idempotency-Key`."""
    is_public: bool = False
    """Whether it is answered without a key."""
    logs_in: bool = False
    """Whether it gives a browser its session: only our own pages may ask, and guesses are counted."""


NOTHING_SPECIAL = Demands()
_ATTRIBUTE = "demands"


def demands(**fields: Any) -> Callable[[EndpointT], EndpointT]:
    """Declare what an endpoint demands, below the decorator of its route; without it, its route class says it.

    Args:
        **fields: Of `Demands`.

    Example:
        @router.post("/learners/{name}/predictions")
        @demands(max_bytes=image_bytes, predicts=True)
        async def predict(...): ...
    """
    declared = Demands(**fields)

    def mark(endpoint: EndpointT) -> EndpointT:
        setattr(endpoint, _ATTRIBUTE, declared)
        return endpoint

    return mark


def _declared(context: Any) -> Demands:
    """Return what an endpoint declares, or the class of its route does."""
    of_class = getattr(context.original_route, _ATTRIBUTE, NOTHING_SPECIAL)
    declared: Demands = getattr(context.endpoint, _ATTRIBUTE, of_class)
    return declared


@dataclass(frozen=True)
class _Entry:
    path: Pattern[str]
    methods: frozenset[str]
    demands: Demands


class DemandTable:
    """The demands of all routes of an app, found as the router finds the route."""

    def __init__(self, routes: Iterable[BaseRoute]) -> None:
        self._entries = [
            _Entry(
                context.path_regex,
                frozenset(context.methods or ()),
                _declared(context),
            )
            for context in iter_route_contexts(list(routes))
        ]

    def find(self, method: str, path: str) -> Demands:
        """Return the demands of the route that a request goes to.

        Where there is none with this method, those of the first one at the path: it will be refused. Where there is
        nothing at the path, nothing special.
        """
        partial = None
        for entry in self._entries:
            if entry.path.match(path):
                if method in entry.methods:
                    return entry.demands
                partial = partial or entry.demands
        return partial or NOTHING_SPECIAL
