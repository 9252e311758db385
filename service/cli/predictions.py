"""`filopodia predictions`: what was asked and answered before."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import typer

from service.cli.options import JsonOption, KeyOption, LearnerArgument, UrlOption, connect
from service.cli.output import percent, print_json, print_table, warnings_of
from service.cli.times import moment, second
from service.client import Filopodia
from service.remote import replies

COLUMNS = ("prediction", "index", "when", "file", "label", "score", "known", "feedback", "")


def predictions(
    name: LearnerArgument,
    label: Annotated[
        str | None, typer.Option(help="Only images that were answered with this class.")
    ] = None,
    unknown: Annotated[
        bool, typer.Option("--unknown", help="Only images that looked like nothing learned.")
    ] = False,
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Only later ones: 90m, 2h or 30d ago, or 2026-03-01."),
    ] = None,
    limit: Annotated[
        int,
        typer.Option(
            min=1, max=1000, help="How many images, newest first; with --json, how many requests."
        ),
    ] = 20,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what was answered before, newest first, with the ids that `feedback` takes. Times are UTC.

    For example `filopodia predictions birds --unknown --since 2h`. What was asked with --no-store is not kept.
    """
    after = None if since is None else moment(since)
    with connect(url, key) as client:
        items = client.predictions(
            name, label=label, known=False if unknown else None, since=after, limit=limit
        )
        if as_json:
            print_json(items)
            return
        names = None if label is None else _names_of(client, name, label)
    rows = [row for stored in items for row in _rows(stored, names, unknown=unknown)]
    is_narrow = unknown or label is not None or since is not None
    print_table(
        *_without_empty_columns(COLUMNS, rows[:limit]),
        empty="Nothing was answered that fits." if is_narrow else "Nothing was asked yet.",
    )


def _names_of(client: Filopodia, name: str, label: str) -> set[str]:
    """Return what a class may be called in answers: as it was named here, by its label, by its name."""
    names = {label}
    for known in client.classes(name):
        both = {known["label"], known.get("name", known["label"])}
        if label in both:
            names |= both
    return names


def _rows(
    stored: replies.StoredPrediction, names: set[str] | None, *, unknown: bool
) -> Iterator[tuple[Any, ...]]:
    """Yield what to show of the images of one request: of all, or of those that were looked for."""
    feedback = {given["index"]: given for given in stored.get("feedback", [])}
    for result in stored["results"]:
        label, problem = result.get("label"), result.get("problem")
        is_left_out = (names is not None and label not in names) or (
            unknown and result.get("known") is not False
        )
        if is_left_out:
            continue
        yield (
            stored["id"],
            result["index"],
            second(stored["created_at"]),
            result.get("filename") or "",
            label or "",
            percent(result.get("score")),
            {True: "yes", False: "no", None: ""}[result.get("known")],
            _feedback(feedback.get(result["index"])),
            problem["detail"] if problem else ", ".join(warnings_of(result)),
        )


def _feedback(given: replies.GivenFeedback | None) -> str:
    if given is None:
        return ""
    state = "learned" if given["task"] else "waits"
    return f"{given['label']} ({state})"


def _without_empty_columns(
    columns: Sequence[str], rows: Sequence[tuple[Any, ...]]
) -> tuple[list[str], list[list[Any]]]:
    """Leave out the columns that say nothing of any row: all are empty, or first of one."""
    kept = [i for i in range(len(columns)) if any(row[i] not in ("", 0) for row in rows)]
    return [columns[i] for i in kept], [[row[i] for i in kept] for row in rows]
