"""The demo's end: digits it never learned from and what nobody taught it, and what a person should see of them."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from service.cli.local.demo_pictures import Picture
from service.cli.output import result_lines
from service.remote.replies import PredictionResult

SHOWN_DIGITS = 5
SEED = 7


@dataclass(frozen=True)
class Answered:
    """A picture, and what was answered."""

    picture: Picture
    result: PredictionResult

    @property
    def is_right(self) -> bool:
        """Whether the label is the right one."""
        return self.result["label"] == self.picture.label

    @property
    def was_right_without(self) -> bool:
        """Whether the label would be the right one had no synapse fired."""
        route = self.result.get("route")
        without = route.get("without") if route else None
        return self.is_right if without is None else without["label"] == self.picture.label

    @property
    def fired(self) -> list[int]:
        """Tasks whose synapses fired for it."""
        route = self.result.get("route")
        synapses = (route.get("synapses") or []) if route else []
        return [synapse["task"] for synapse in synapses if synapse["state"] == "functional"]


@dataclass(frozen=True)
class Closing:
    """What was answered to all pictures that were asked about at the end."""

    taught: list[Answered]
    untaught: list[Answered]

    @classmethod
    def of(
        cls,
        digits: Sequence[Picture],
        untaught: Sequence[Picture],
        results: Sequence[PredictionResult],
    ) -> "Closing":
        """Pair the pictures with their answers: those to the digits come first."""
        return cls(
            [Answered(*pair) for pair in zip(digits, results[: len(digits)], strict=True)],
            [Answered(*pair) for pair in zip(untaught, results[len(digits) :], strict=True)],
        )

    @property
    def known(self) -> float:
        """Share of the taught that is called known."""
        return sum(each.result["known"] for each in self.taught) / len(self.taught)

    @property
    def recognised(self) -> float:
        """Share of the untaught that is called not known."""
        return sum(not each.result["known"] for each in self.untaught) / len(self.untaught)

    @property
    def fired(self) -> list[Answered]:
        """Digits for which a synapse fired."""
        return [each for each in self.taught if each.fired]

    def summary(self) -> list[str]:
        """Say how many are right and known, and for how many a synapse fired, if for any."""
        n, n_other = len(self.taught), len(self.untaught)
        n_right = sum(each.is_right for each in self.taught)
        n_known = sum(each.result["known"] for each in self.taught)
        n_new = sum(not each.result["known"] for each in self.untaught)
        lines = [
            f"{n} digits it never learned from: {n_right} right, {n_known} known, {n - n_known} not known",
            f"{n_other} pictures of what nobody taught, the photographs without a digit and drawn fruit: "
            f"{n_other - n_new} known, {n_new} not known",
        ]
        if not self.fired:
            return lines
        by_task = sorted(Counter(task for each in self.fired for task in each.fired).items())
        tasks = ", ".join(f"task {task} ({count})" for task, count in by_task)
        n_fired_right = sum(each.is_right for each in self.fired)
        n_without = sum(each.was_right_without for each in self.fired)
        told = (
            f"A synapse fired for {len(self.fired)} of the {n} digits: {n_fired_right} of them are right, "
            f"{n_without} would be without"
        )
        return [*lines, f"{told}; {tasks}"]

    def new(self) -> Answered | None:
        """Choose one that is not known among those that nobody taught. None where all are called known."""
        new = [each for each in self.untaught if not each.result["known"]]
        return random.Random(SEED).choice(new) if new else None

    def digits(self) -> list[Answered]:
        """Draw some of the digits at random."""
        return random.Random(SEED).sample(self.taught, SHOWN_DIGITS)


def show(console: Console, closing: Closing) -> None:
    """Print the counts and the chosen pictures."""
    console.print()
    for line in closing.summary():
        console.print(line)
    if new := closing.new():
        _title(console, "One that is not known:")
        _show(console, new, ("? ", "bold yellow"))
    if closing.fired:
        _title(console, "One for which a synapse fired:")
        _show_digit(console, random.Random(SEED).choice(closing.fired))
    _title(console, f"{SHOWN_DIGITS} of the {len(closing.taught)} digits, drawn at random:")
    for i, digit in enumerate(closing.digits()):
        if i:
            console.print()
        _show_digit(console, digit)


def _title(console: Console, title: str) -> None:
    console.print()
    console.print(title, style="bold")
    console.print()


def _show_digit(console: Console, answered: Answered) -> None:
    _show(console, answered, ("✓ ", "bold green") if answered.is_right else ("✗ ", "bold red"))


def _show(console: Console, answered: Answered, mark: tuple[str, str]) -> None:
    lines = result_lines(answered.result)
    lines[0] = Text.assemble(mark, f"shows {answered.picture.label}, answered ") + lines[0]
    beside = Table.grid(padding=(0, 3, 0, 0))
    beside.add_column(no_wrap=True)
    beside.add_row(answered.picture.drawn(console), Group(*lines))
    console.print(beside)
