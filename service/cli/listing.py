"""Commands that list what the service has: learners, tasks, versions, accuracy, the audit log, ways to learn."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.text import Text

from service.cli.options import (
    JsonOption,
    KeyOption,
    LearnerArgument,
    UrlOption,
    connect,
    learner_names,
)
from service.cli.output import (
    headline,
    make_console,
    matrix_table,
    percent,
    print_json,
    print_table,
    share_of,
)
from service.cli.tasks import next_steps
from service.remote import replies

USUAL_MODE = "new_classes"


def learners(url: UrlOption = None, key: KeyOption = None, as_json: JsonOption = False) -> None:
    """List the learners."""
    with connect(url, key) as client:
        items = client.learners()
    if as_json:
        print_json(items)
        return
    has_moved = any(learner["head_version"] != learner["live_version"] for learner in items)
    print_table(
        (
            "name",
            "strategy",
            "backbone",
            "classes",
            "tasks",
            "live",
            *(("head",) if has_moved else ()),
            "last",
            "average",
            "forgetting",
        ),
        (
            (
                learner["name"],
                learner["strategy"],
                learner["backbone"],
                learner["classes"],
                learner["tasks"],
                learner["live_version"],
                *((learner["head_version"],) if has_moved else ()),
                *_accuracies(learner["accuracy"]),
            )
            for learner in items
        ),
        empty="No learner yet: filopodia learn NAME FOLDER --create makes one.",
    )


def _accuracies(accuracy: replies.Accuracy) -> list[str]:
    measures = accuracy.get("measures")
    last = measures["last"] if measures else None
    rest = (percent(accuracy["average"]), percent(accuracy["forgetting"]))
    return [share_of(accuracy["last"], last["n"] if last else None, last), *rest]


def history(
    name: LearnerArgument,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how well every task was known after every task, and which version is live."""
    with connect(url, key) as client:
        accuracy = client.accuracy(name)
        live = client.learner(name)["live_version"]
        head = accuracy["versions"][-1] if accuracy["versions"] else 0
        served = client.accuracy(name, version=live) if live not in (0, head) else None
    if as_json:
        print_json(accuracy)
        return
    console = make_console()
    if not accuracy["versions"]:
        console.print("Nothing learned yet.", style="dim")
        return
    console.print(matrix_table(accuracy, live=live))
    if served is None:
        console.print(headline(accuracy))
        return
    console.print(Text(f"version {live}, live:  "), headline(served), sep="")
    console.print(Text(f"version {head}, head:  "), headline(accuracy), sep="")


def tasks(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="Of one learner only.", autocompletion=learner_names),
    ] = None,
    consolidations: Annotated[
        bool, typer.Option("--consolidations", help="Consolidations instead.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, newest first.")] = 20,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """List tasks, newest first."""
    mode = "consolidate" if consolidations else None
    with connect(url, key) as client:
        items = [task.reply for task in client.tasks(name, mode=mode, limit=limit)]
    if as_json:
        print_json(items)
        return
    if consolidations:
        _print_consolidations(items)
        return
    has_names = any(task["name"] for task in items)
    has_modes = any(task.get("mode", USUAL_MODE) != USUAL_MODE for task in items)
    print_table(
        (
            "id",
            "learner",
            "task",
            *(("name",) if has_names else ()),
            *(("mode",) if has_modes else ()),
            "status",
            "classes",
            "images",
            "version",
            "error",
        ),
        (
            (
                task["id"],
                task["learner"],
                task["index"],
                *((task["name"] or "",) if has_names else ()),
                *((task.get("mode", ""),) if has_modes else ()),
                task["status"],
                len(task["classes"]),
                sum((task["samples"]["train"], task["samples"]["eval"])),
                task["version"],
                task["error"]["code"] if task["error"] else "",
            )
            for task in items
        ),
        empty="No task yet.",
    )
    _print_reasons(items)


def _print_consolidations(items: list[replies.Task]) -> None:
    print_table(
        ("id", "learner", "tasks", "stands"),
        (
            (
                task["id"],
                task["learner"],
                ", ".join(map(str, told["tasks"] or ())),
                told["standing"],
            )
            for task in items
            if (told := task.get("consolidation"))
        ),
        empty="No consolidation yet.",
    )


def versions(
    name: LearnerArgument,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """List a learner's versions."""
    with connect(url, key) as client:
        items = client.versions(name)
    if as_json:
        print_json(items)
        return
    print_table(
        ("version", "task", "stage", "classes", "size", "created", ""),
        (
            (
                version["number"],
                version["task"] if version["task"] > 0 else "",
                version.get("stage", ""),
                len(version["classes"]),
                "" if version.get("erased_at") else f"{version['size_bytes'] / 1e6:.1f} MB",
                version["created_at"][:19].replace("T", " "),
                "live" if version["is_live"] else "erased" if version.get("erased_at") else "",
            )
            for version in items
        ),
        empty="Nothing learned yet.",
    )


def audit(
    learner: Annotated[
        str | None, typer.Option("--learner", metavar="NAME", help="Done to one learner only.")
    ] = None,
    key_id: Annotated[
        str | None, typer.Option("--by", metavar="ID", help="Done with one key only, by its id.")
    ] = None,
    action: Annotated[
        str | None, typer.Option(help="One kind of change only, such as learner.delete.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, newest first.")] = 20,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what was changed and by whom, newest first."""
    with connect(url, key) as client:
        entries = client.audit(key=key_id, learner=learner, action=action, limit=limit)
    is_narrow = any(chosen is not None for chosen in (learner, key_id, action))
    if as_json:
        print_json(entries)
        return
    print_table(
        ("when", "key", "action", "learner", "subject", "what"),
        (
            (
                entry["created_at"][:19].replace("T", " "),
                entry["key_name"],
                entry["action"],
                entry["learner"] or "",
                entry["subject"],
                ", ".join(f"{name} {_told(value)}" for name, value in entry["details"].items()),
            )
            for entry in entries
        ),
        empty="Nothing was changed that fits." if is_narrow else "Nothing was changed yet.",
    )


def strategies(url: UrlOption = None, key: KeyOption = None, as_json: JsonOption = False) -> None:
    """List the strategies a learner can be created with."""
    with connect(url, key) as client:
        items = client.strategies()
    if as_json:
        print_json(items)
        return
    print_table(
        ("strategy", "what it is for"),
        ((strategy["name"], strategy["summary"]) for strategy in items),
        empty="No strategy.",
    )


def backbones(url: UrlOption = None, key: KeyOption = None, as_json: JsonOption = False) -> None:
    """List the backbones a learner can be created with, and the general images they know.

    Any other timm ViT with a pre-trained tag works too.
    """
    with connect(url, key) as client:
        items = client.backbones()
    if as_json:
        print_json(items)
        return
    print_table(
        ("backbone", "weights", "pixels", "background", "what it is"),
        (
            (
                item["name"],
                item["source"],
                item["image_size"],
                _images_of(item.get("background")),
                item["description"],
            )
            for item in items
        ),
        empty="No backbone.",
    )


def _images_of(background: replies.Background | None) -> str:
    """Return what a background was made of, in words."""
    if background is None:
        return "none"
    of_classes = f" of {background['n_classes']:,} classes" if background["n_classes"] else ""
    return f"{background['n_images']:,} images{of_classes}"


def _print_reasons(listed: Sequence[replies.Task]) -> None:
    """Say of each task that needs a person why, and what can be done."""
    console = make_console()
    for task in listed:
        way = next_steps(task)
        if way is not None and task["error"] is not None:
            console.print(f"\n{task['id']} {task['status']}: {task['error']['detail']}")
            console.print(way, style="dim", soft_wrap=True)


def _told(value: Any) -> str:
    """Return a detail of an entry in the audit log in words.

    Example:
        >>> _told({"before": "queued", "after": "cancelled"}), _told(["heron", 3]), _told(None)
        ('queued → cancelled', 'heron 3', '-')
    """
    match value:
        case {"before": before, "after": after}:
            return f"{_told(before)} → {_told(after)}"
        case dict():
            return " ".join(f"{name} {_told(item)}" for name, item in value.items())
        case list():
            return " ".join(map(_told, value))
        case _:
            return "-" if value is None else str(value)
