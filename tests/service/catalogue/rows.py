"""How a row of the catalogue is written down."""

from collections.abc import Callable
from dataclasses import dataclass

from service.problems import PROBLEMS
from tests.service.catalogue.wire import CLOSED, Answer, Wire

Send = Callable[[Wire], Answer]
Then = Callable[[Wire, Answer], None]


@dataclass(frozen=True)
class Case:
    """One request and what it must answer."""

    name: str
    send: Send
    expected: tuple[tuple[int, str | None], ...]
    """Pairs of status and problem code; more than one only where the contract leaves the choice."""
    then: Then | None = None
    """What else must hold."""
    why: str = ""
    """Why the answer is not the one that the first catalogue named."""


def refused(name: str, send: Send, code: str, *, then: Then | None = None, why: str = "") -> Case:
    """A request that gets a problem."""
    return Case(name, send, ((PROBLEMS[code].status, code),), then, why)


def accepted(
    name: str, send: Send, status: int, *, then: Then | None = None, why: str = ""
) -> Case:
    """A request that is served."""
    return Case(name, send, ((status, None),), then, why)


def closed(name: str, send: Send, why: str = "") -> Case:
    """A connection that the service closes without an answer."""
    return Case(name, send, ((CLOSED, None),), None, why)


Row = tuple[str, list[Case]]
"""A short name, and the cases."""


def both(name: str, data: bytes, code: str, why: str = "") -> Row:
    """An image that is refused when predicting and, by name, when learning: both have the same decoder."""

    def is_named(wire: Wire, answer: Answer) -> None:
        problem = answer.json()
        assert [(e["index"], e["code"]) for e in problem["errors"]] == [(4, code)], problem

    return (
        name,
        [
            refused("P", lambda wire: wire.predict(data), code, why=why),
            refused(
                "U",
                lambda wire: wire.upload(data),
                "images-rejected",
                then=is_named,
                why="an upload names each unusable image in `errors`",
            ),
        ],
    )


def fine(name: str, data: bytes, then: Then | None = None) -> Row:
    """An odd image that is welcome in both places."""
    return (
        name,
        [
            accepted("P", lambda wire: wire.predict(data), 200, then=then),
            accepted("U", lambda wire: wire.upload(data), 202),
        ],
    )
