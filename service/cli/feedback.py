"""`filopodia feedback`: say what images really show, list what waits to be learned, take it back."""

from typing import Annotated

import typer

from service.cli.options import JsonOption, KeyOption, UrlOption, connect
from service.cli.output import make_console, percent, print_json, print_table
from service.cli.times import second
from service.client import Filopodia
from service.remote import replies


def feedback(
    prediction: Annotated[
        str | None,
        typer.Argument(
            metavar="PREDICTION",
            help="As predict and predictions show it; with --pending, the name of a learner.",
        ),
    ] = None,
    label: Annotated[
        str | None, typer.Argument(metavar="LABEL", help="What is really on the image.")
    ] = None,
    index: Annotated[
        int | None,
        typer.Option(
            min=0, help="Which image, if several were asked about at once; the first unless set."
        ),
    ] = None,
    pending: Annotated[
        bool, typer.Option("--pending", help="List what waits to be learned instead.")
    ] = False,
    withdraw: Annotated[
        bool, typer.Option("--withdraw", help="Take back what was said instead.")
    ] = False,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what is really on an image that was predicted, so that it can be learned.

    `feedback PREDICTION LABEL` says it, `feedback PREDICTION --withdraw` takes it back, and `feedback --pending
    [LEARNER]` lists what was said and waits. `filopodia learn NAME --from-feedback` takes what is said of new classes;
    with --extend, also what is said of known ones.
    """
    if wrong := _wrong_use(prediction, label, index, pending=pending, withdraw=withdraw):
        raise typer.BadParameter(wrong)
    with connect(url, key) as client:
        if pending:
            _list_pending(client, prediction, as_json=as_json)
        elif withdraw:
            _withdraw(client, str(prediction), index or 0, as_json=as_json)
        else:
            _give(client, str(prediction), str(label), index or 0, as_json=as_json)


def _wrong_use(
    prediction: str | None, label: str | None, index: int | None, *, pending: bool, withdraw: bool
) -> str | None:
    if pending and withdraw:
        return "Choose one of --pending and --withdraw."
    if pending and (label is not None or index is not None):
        return (
            "--pending takes the name of a learner, or nothing: filopodia feedback --pending birds"
        )
    if pending:
        return None
    if prediction is None:
        return "Name a prediction and what its image shows, or list what waits with --pending."
    if withdraw and label is not None:
        return "--withdraw takes back whatever was said: leave LABEL out."
    if not withdraw and label is None:
        return f"Say what the image shows: filopodia feedback {prediction} LABEL"
    return None


def _give(
    client: Filopodia, prediction: str, label: str, index: int, *, as_json: bool = False
) -> None:
    stored = client.give_feedback(prediction, label, index=index)
    if as_json:
        print_json(stored)
        return
    result = stored["results"][index]
    name = result["filename"] or f"Image {index}"
    make_console().print(
        f"{name}, answered {result['label']}, is {label}: kept for the next learn --from-feedback.",
        soft_wrap=True,
    )


def _withdraw(client: Filopodia, prediction: str, index: int, *, as_json: bool) -> None:
    client.withdraw_feedback(prediction, index=index)
    if as_json:
        print_json({"prediction": prediction, "index": index, "withdrawn": True})
    else:
        make_console().print(f"Taken back what was said of image {index} of {prediction}.")


def _list_pending(client: Filopodia, learner: str | None, *, as_json: bool) -> None:
    names = [learner] if learner else [each["name"] for each in client.learners()]
    pending = [(name, entry) for name in names for entry in client.feedback(name, pending=True)]
    if as_json:
        print_json([{"learner": name, **entry} for name, entry in pending])
        return
    print_table(
        ("learner", "prediction", "index", "file", "answered", "score", "is really", "said"),
        (_row(name, entry) for name, entry in pending),
        empty="No feedback waits.",
    )
    if pending:
        make_console().print(
            "`filopodia learn NAME --from-feedback` learns new classes of it; with --extend, also known ones.",
            style="dim",
            soft_wrap=True,
        )


def _row(learner: str, entry: replies.Feedback) -> tuple[str | int, ...]:
    return (
        learner,
        entry["prediction"],
        entry["index"],
        entry["filename"] or "",
        entry["answered"],
        percent(entry["score"]),
        entry["label"],
        second(entry["created_at"]),
    )
