"""How large a hyperparameter may be that somebody asks for, and why. Far beyond what was ever of use, and bearable.

A bound is for what is asked for anew. What was learned with more, by an earlier release, is loaded and goes on
learning: only what makes a value impossible is refused everywhere, by the configurations themselves.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from models.errors import ConfigError


@dataclass(frozen=True)
class Bounds:
    """What a number may be."""

    least: float
    most: float
    why: str
    """Why not more, as a part of a sentence."""
    is_open: bool = False
    """Whether it must lie above `least`."""

    def hold(self, value: float) -> bool:
        """Return whether a value lies within; nothing that is no number does.

        Example:
            >>> Bounds(0, 1, "").hold(0), Bounds(0, 1, "", is_open=True).hold(0), Bounds(0, 1, "").hold(float("nan"))
            (True, False, False)
        """
        return self.least <= value <= self.most and not (self.is_open and value == self.least)

    def __get_pydantic_json_schema__(self, core_schema: Any, handler: Any) -> dict[str, Any]:
        """Say the bounds in a JSON Schema that pydantic makes of a configuration."""
        schema: dict[str, Any] = handler(core_schema)
        lower = "exclusiveMinimum" if self.is_open else "minimum"
        return schema | {lower: self.least, "maximum": self.most}


Epochs = Annotated[int, Bounds(1, 1000, "each pass takes as long as the first")]
BatchSize = Annotated[int, Bounds(1, 512, "a step holds all of its images in memory at once")]
Bottleneck = Annotated[
    int, Bounds(1, 1024, "memory and time grow with it, and features are hardly wider")
]
Rate = Annotated[float, Bounds(0, 10, "larger steps never end anywhere", is_open=True)]
Share = Annotated[float, Bounds(0, 1, "it is a share")]
PositiveShare = Annotated[float, Bounds(0, 1, "it is a share", is_open=True)]
Weight = Annotated[float, Bounds(0, 1e12, "beyond it numbers lose their digits")]
Factor = Annotated[float, Bounds(0, 1e6, "beyond it nothing else counts", is_open=True)]


def bounds_of(config_type: type) -> Iterator[tuple[str, Bounds | None]]:
    """Yield every number of a configuration by its name, with its bounds, if there are any."""
    for name, hint in get_type_hints(config_type, include_extras=True).items():
        if name.startswith("_"):
            continue
        for part in (hint, *get_args(hint)):
            if get_origin(part) is Annotated:
                yield name, next((m for m in part.__metadata__ if isinstance(m, Bounds)), None)
                break
            if part in (int, float):
                yield name, None
                break


def require_within(config: Any, names: Collection[str] | None = None) -> None:
    """Check that numbers lie within their bounds.

    Args:
        config: A strategy's configuration.
        names: Of the numbers to look at; None is all of them.

    Raises:
        ConfigError: If one does not; the message says what it may be, and why.
    """
    for name, bounds in bounds_of(type(config)):
        value = getattr(config, name)
        if bounds is None or value is None or (names is not None and name not in names):
            continue
        if not bounds.hold(value):
            lower = f"above {bounds.least:g}" if bounds.is_open else f"from {bounds.least:g}"
            raise ConfigError(
                f"{name} must be a number {lower} to {_plain(bounds.most)}: {bounds.why}."
            )


def _plain(number: float) -> str:
    return (
        f"{number:,.0f}".replace(",", "")
        if number < 1e20 and number == int(number)
        else f"{number:g}"
    )
