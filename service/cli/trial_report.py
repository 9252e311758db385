"""How the result of a test is shown: for people, and as JSON."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from service.cli.image_files import shown
from service.cli.measures import (
    Judged,
    Share,
    by_class,
    confused_pairs,
    confusion,
    mean_class_accuracy,
    worst,
)
from service.cli.output import make_table, percent, score_style
from service.cli.trial import Trial

MATRIX_CLASSES = 15
"""Most classes whose confusion is shown as a matrix; of more, the most confused pairs."""
PAIRS = 10
WORST = 10
"""Most images that are named."""
NAMED_CLASSES = 20
ROOMY = 1000
"""Columns of a terminal that everything fits on."""
LETTERS = 8
"""Of a class at the head of a column of the matrix."""


def print_trial(trial: Trial, console: Console) -> None:
    """Print what a test has found."""
    _print_headline(trial, console)
    if trial.judged:
        _print_classes(trial.judged, console)
        _print_confusion(trial.judged, console)
        _print_worst(trial.judged, console)
    _print_strange(trial, console)
    _print_rest(trial, console)


def trial_json(trial: Trial) -> dict[str, Any]:
    """Return what a test has found, for programs."""
    return {
        "learner": trial.learner,
        "version": trial.version,
        **_share(Share.of(trial.judged)),
        "mean_class_accuracy": mean_class_accuracy(trial.judged),
        "said_unknown": _n_unknown(trial.judged),
        "classes": [
            {"class": name, **_share(Share.of(images)), "said_unknown": _n_unknown(images)}
            for name, images in by_class(trial.judged).items()
        ],
        "confusion": confusion(trial.judged),
        "wrong": [_image(image) for image in worst(trial.judged)],
        "unknown_classes": [
            {
                "class": name,
                "hidden": name in trial.hidden,
                "n": len(images),
                "said_unknown": _n_unknown(images),
            }
            for name, images in by_class(trial.strange).items()
        ],
        "missing_classes": trial.missing,
        "unusable": [
            {"file": shown(answer.file), "problem": answer.result["problem"]}
            for answer in trial.unusable
        ],
    }


def _print_headline(trial: Trial, console: Console) -> None:
    share = Share.of(trial.judged)
    if share.accuracy is None or share.interval is None:
        console.print("No image of a class that the learner answers: there is no accuracy.")
        return
    low, high = share.interval
    console.print(
        Text.assemble(
            ("accuracy ", "dim"),
            (percent(share.accuracy), f"bold {score_style(share.accuracy)}"),
            f"   95 % interval {percent(low)} to {percent(high)}",
            f"   {share.right} of {share.n} images, by version {trial.version}",
            ("   too few to tell" if share.is_too_few else "", "yellow"),
        ),
        soft_wrap=True,
    )
    mean = mean_class_accuracy(trial.judged)
    if percent(mean) != percent(share.accuracy):
        console.print(f"{percent(mean)} if each class weighs alike", style="dim")
    if n_unknown := _n_unknown(trial.judged):
        console.print(f"Look like nothing learned so far: {n_unknown}", style="dim")


def _print_classes(judged: Sequence[Judged], console: Console) -> None:
    table = make_table(("class", "images", "right", "accuracy", "95 % interval"), numbers={1, 2, 3})
    rows = [(name, Share.of(images)) for name, images in by_class(judged).items()]
    for name, share in sorted(rows, key=lambda row: (row[1].right / row[1].n, row[0])):
        low, high = share.interval or (0.0, 1.0)
        table.add_row(
            name,
            str(share.n),
            str(share.right),
            Text(percent(share.accuracy), style=score_style(share.right / share.n)),
            f"{percent(low)} to {percent(high)}" + ("  too few to tell" * share.is_too_few),
        )
    console.print()
    console.print(table)


def _print_confusion(judged: Sequence[Judged], console: Console) -> None:
    pairs = confused_pairs(judged)
    if not pairs:
        return
    classes = sorted({image.truth for image in judged} | {image.answer for image in judged})
    console.print()
    if len(classes) <= MATRIX_CLASSES:
        console.print("What is there (rows) and what was answered (columns):", style="dim")
        matrix = _matrix(judged, classes, heads=[_short(name) for name in classes])
        roomy = console.options.update(width=ROOMY)
        if console.measure(matrix, options=roomy).maximum > console.width:
            matrix = _matrix(judged, classes, heads=None)
        console.print(matrix)
        return
    table = make_table(("class", "was taken for", "times"), numbers={2})
    for truth, answer, n in pairs[:PAIRS]:
        table.add_row(truth, answer, str(n))
    console.print("Most often confused:", style="dim")
    console.print(table)


def _matrix(judged: Sequence[Judged], classes: Sequence[str], heads: list[str] | None) -> Table:
    """Return a table of counts: a row a class, and a column each; the columns by number where heads are too wide."""
    counts = confusion(judged)
    numbers = [str(i) for i in range(1, len(classes) + 1)]
    table = make_table(("", *(heads or numbers)), numbers=set(range(1, len(classes) + 1)))
    for number, truth in zip(numbers, classes, strict=True):
        row = counts.get(truth, Counter())
        cells = [
            Text("·", "dim") if not row[answer]
            else Text(str(row[answer]), "green" if answer == truth else "red")
            for answer in classes
        ]  # fmt: skip
        table.add_row(truth if heads else f"{number} {truth}", *cells)
    return table


def _print_worst(judged: Sequence[Judged], console: Console) -> None:
    wrong = worst(judged)
    if not wrong:
        return
    table = make_table(("file", "is", "answered", "score", "known"), numbers={3})
    for image in wrong[:WORST]:
        known = "yes" if image.known else "no"
        table.add_row(shown(image.file), image.truth, image.answer, percent(image.score), known)
    console.print()
    more = f", {WORST} of {len(wrong)}" if len(wrong) > WORST else ""
    console.print(f"Wrong answers, the most confident first{more}:", style="dim")
    console.print(table)


def _print_strange(trial: Trial, console: Console) -> None:
    if not trial.strange:
        return
    table = make_table(("class", "images", "said to be unknown", ""), numbers={1, 2})
    for name, images in by_class(trial.strange).items():
        note = "hidden" if name in trial.hidden else ""
        table.add_row(name, str(len(images)), str(_n_unknown(images)), note)
    console.print()
    console.print("Classes that the learner does not answer; they do not count above:", style="dim")
    console.print(table)


def _print_rest(trial: Trial, console: Console) -> None:
    if missing := trial.missing:
        more = f" and {len(missing) - NAMED_CLASSES} more" if len(missing) > NAMED_CLASSES else ""
        names = ", ".join(missing[:NAMED_CLASSES])
        console.print(f"\nKnown, but not in the folder: {names}{more}.", style="dim")
    if trial.unusable:
        console.print(f"\nCould not be used ({len(trial.unusable)}):", style="red")
    for answer in trial.unusable[:WORST]:
        console.print(f"  {shown(answer.file)}: {answer.problem}", soft_wrap=True)
    if len(trial.unusable) > WORST:
        console.print(f"  ... and {len(trial.unusable) - WORST} more")


def _n_unknown(images: Sequence[Judged]) -> int:
    return sum(not image.known for image in images)


def _share(share: Share) -> dict[str, Any]:
    return {
        "n": share.n,
        "right": share.right,
        "accuracy": share.accuracy,
        "interval": share.interval,
        "too_few": share.is_too_few,
    }


def _image(image: Judged) -> dict[str, Any]:
    return {
        "file": shown(image.file),
        "truth": image.truth,
        "label": image.answer,
        "score": image.score,
        "known": image.known,
    }


def _short(name: str) -> str:
    return name if len(name) <= LETTERS else name[: LETTERS - 1] + "…"
