"""`filopodia review`: the photos about which a person's word would be most useful."""

from typing import Annotated

import typer

from service.cli.options import JsonOption, KeyOption, LearnerArgument, UrlOption, connect
from service.cli.output import make_console, percent, print_json, print_table
from service.remote import replies


def review(
    name: LearnerArgument,
    unknown: Annotated[
        bool, typer.Option("--unknown", help="Only those that look like no class.")
    ] = False,
    sure: Annotated[
        bool, typer.Option("--all", help="Also those of which the answer is sure.")
    ] = False,
    label: Annotated[
        str | None, typer.Option("--label", help="Only those answered so.", metavar="LABEL")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, best first.")] = 20,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the photos about which a person's word would be most useful, and why; those that look alike are one line.

    The page Review of the dashboard shows them and takes what they are called, many at once. `feedback` says it of one.
    """
    with connect(url, key) as client:
        items = client.review(
            name,
            known=False if unknown else None,
            label=label,
            sure=sure or None,
            limit=limit,
        )
    if as_json:
        print_json(items)
        return
    print_table(
        ("why", "answered", "score", "file", "images", "prediction"),
        (_row(item) for item in items),
        empty="No image waits for a word.",
    )
    if items:
        make_console().print(
            f"/admin/learners/{name}/review shows them in a browser, and takes what many are called at once.",
            style="dim",
            soft_wrap=True,
        )


def _row(item: replies.ReviewItem) -> tuple[str | int, ...]:
    index = f" --index {item['index']}" if item["index"] else ""
    return (
        item["detail"],
        item["label"],
        percent(item["score"]),
        item["filename"] or "",
        len(item["images"]),
        f"{item['prediction']}{index}",
    )
