"""`filopodia classes`, `rename-class`, `hide-class`, `answer-from`: what a learner knows, and how it is answered."""

from typing import Annotated

import typer

from service.cli.options import JsonOption, KeyOption, LearnerArgument, UrlOption, connect
from service.cli.output import make_console, percent, print_json, print_table, share_of
from service.remote.replies import LearnedClass

ClassArgument = Annotated[
    str, typer.Argument(metavar="CLASS", help="The class, by its label or its name.")
]


def list_classes(
    name: LearnerArgument,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the classes a learner knows, in the order they were learned.

    The last columns are the share of each class's images, held out or left out in turn, that was recognised, with its
    95 % interval: when it was learned, and with the version that is served.
    """
    with connect(url, key) as client:
        classes = client.classes(name)
    if as_json:
        print_json(classes)
        return
    print_table(
        ("class", "label", "task", "train", "eval", "learned", "now", ""),
        (
            (
                item.get("name", item["label"]),
                item["label"],
                item["task"],
                item["samples"]["train"],
                item["samples"]["eval"],
                share_of(
                    item["accuracy_learned"], item.get("n_learned"), item.get("measured_learned")
                ),
                share_of(item["accuracy_now"], item.get("n_now"), item.get("measured_now")),
                _noted(item),
            )
            for item in classes
        ),
        empty="Nothing learned yet.",
    )


def _noted(item: LearnedClass) -> str:
    least: float | None = item.get("min_score")
    notes = ["hidden"] if item.get("hidden") else []
    return ", ".join(notes if least is None else [*notes, f"known from {percent(least)}"])


def rename_class(
    name: LearnerArgument,
    label: ClassArgument,
    to: Annotated[
        str | None,
        typer.Argument(metavar="NEW", help="Its new name; without, its label again."),
    ] = None,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Call a class by another name from now on. Nothing is learned anew."""
    with connect(url, key) as client:
        changed = client.update_class(name, label, shown_name=to)
    if as_json:
        print_json(changed)
    else:
        make_console().print(f"{changed['label']} is called {changed.get('name')}")


def hide_class(
    name: LearnerArgument,
    label: ClassArgument,
    hidden: Annotated[
        bool, typer.Option("--hide/--show", help="Or show it again.", show_default=False)
    ] = True,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let predictions never answer a class. It stays learned: `filopodia unlearn` takes it out for good."""
    with connect(url, key) as client:
        changed = client.update_class(name, label, hidden=hidden)
    if as_json:
        print_json(changed)
    else:
        state = "hidden" if changed.get("hidden") else "answered"
        make_console().print(f"{changed.get('name')} is {state}")


def answer_from(
    name: LearnerArgument,
    label: ClassArgument,
    score: Annotated[
        float | None,
        typer.Argument(min=0.0, max=1.0, help="Such as 0.8; without, any score again."),
    ] = None,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let answers of a class count as known only from a score on. Below it `known` is no; nothing is learned anew."""
    with connect(url, key) as client:
        changed = client.update_class(name, label, min_score=score)
    if as_json:
        print_json(changed)
    elif (least := changed.get("min_score")) is None:
        make_console().print(f"{changed.get('name')} is known from any score on")
    else:
        make_console().print(f"{changed.get('name')} is known from {percent(least)} on")
