"""`filopodia notifications`: who is told of what happens, and whether messages arrive."""

from typing import Annotated, Any

import typer

from service.cli.confirmation import YesOption, confirm
from service.cli.options import JsonOption, KeyOption, UrlOption, connect
from service.cli.output import make_console, print_json, print_table
from service.cli.times import second
from service.remote.replies import Message, Subscription

EVENTS = ("prediction.made", "task.ended", "accuracy.dropped", "unknown.found")
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="Its id, from `notifications list`.")]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Who is told of what happens: add, list, try out, delete.",
)


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is for.")],
    target: Annotated[str, typer.Argument(metavar="TARGET", help="A URL, or mqtt: and a topic.")],
    event: Annotated[
        list[str],
        typer.Option(metavar="EVENT", help=f"{', '.join(EVENTS)}; may be given several times."),
    ],
    learner: Annotated[
        str | None, typer.Option(metavar="NAME", help="The only learner to listen to.")
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(metavar="CLASS", help="Answers of this class; may be given several times."),
    ] = None,
    at_least: Annotated[
        float | None, typer.Option(metavar="SCORE", help="Answers with this score or more.")
    ] = None,
    below: Annotated[
        float | None, typer.Option(metavar="SCORE", help="Answers with a lower score.")
    ] = None,
    known: Annotated[
        bool | None,
        typer.Option("--known/--unknown", help="Answers that look like a class, or like none."),
    ] = None,
    disagrees: Annotated[
        bool, typer.Option(help="Answers that the frozen network alone would not give.")
    ] = False,
    status: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STATUS", help="Tasks that end so, e.g. failed; may be given several times."
        ),
    ] = None,
    drop: Annotated[
        float | None, typer.Option(metavar="SHARE", help="Accuracies that fall by this, e.g. 0.05.")
    ] = None,
    images: Annotated[
        int | None, typer.Option(metavar="N", help="Images alike that look like no class.")
    ] = None,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell somebody of what happens, and print the secret of the messages: it is shown this once."""
    rule = {
        "labels": label or None,
        "min_score": at_least,
        "max_score": below,
        "known": known,
        "disagrees": disagrees or None,
        "statuses": status or None,
        "min_drop": drop,
        "min_images": images,
    }
    given = {part: value for part, value in rule.items() if value is not None}
    with connect(url, key) as client:
        made = client.subscribe(name, target, event, learner=learner, rule=given)
    if as_json:
        print_json(made)
        return
    said = f"{made['id']} is told at {made['target']}. Its secret, shown this once:"
    make_console(stderr=True).print(said)
    typer.echo(made.get("secret") or "")


@app.command("list")
def list_all(url: UrlOption = None, key: KeyOption = None, as_json: JsonOption = False) -> None:
    """List who is told of what, without the secrets."""
    with connect(url, key) as client:
        found = client.subscriptions()
    if as_json:
        print_json(found)
        return
    print_table(
        ("id", "name", "target", "learner", "events", "state", "delivered", "waiting"),
        (
            (
                one["id"],
                one["name"],
                one["target"],
                one["learner"] or "all",
                ", ".join(one["events"]),
                _state(one),
                one["messages"].get("delivered", 0),
                one["messages"].get("waiting", 0),
            )
            for one in found
        ),
        empty="Nobody is told of anything.",
    )


@app.command("messages")
def messages(
    subscription_id: IdArgument,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="How many, newest first.")] = 20,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the messages of one, newest first, with what became of them."""
    with connect(url, key) as client:
        found = list(client.messages(subscription_id, limit=limit))
    if as_json:
        print_json(found)
        return
    print_table(
        ("id", "event", "status", "tries", "answer", "next try", "created"),
        (
            (
                one["id"],
                one["event"],
                one["status"],
                len(one["tries"]),
                _answer(one),
                second(one["next_try_at"]),
                second(one["created_at"]),
            )
            for one in found
        ),
        empty="No message.",
    )


@app.command("test")
def send_test(
    subscription_id: IdArgument,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send a message that says only that messages arrive."""
    with connect(url, key) as client:
        sent = client.send_test_message(subscription_id)
    _say(sent, f"{sent['id']} is on its way", as_json)


@app.command("send")
def send_again(
    subscription_id: IdArgument,
    message_id: Annotated[
        str, typer.Argument(metavar="MESSAGE", help="Its id, from `notifications messages`.")
    ],
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send a message once more, or at once if it waits."""
    with connect(url, key) as client:
        sent = client.send_message_again(subscription_id, message_id)
    _say(sent, f"{sent['id']} is on its way", as_json)


@app.command("on")
def turn_on(
    subscription_id: IdArgument,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send messages again, also those that waited."""
    with connect(url, key) as client:
        changed = client.update_subscription(subscription_id, enabled=True)
    _say(changed, f"{changed['name']} is told again", as_json)


@app.command("off")
def turn_off(
    subscription_id: IdArgument,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send no messages until it is turned on again."""
    with connect(url, key) as client:
        changed = client.update_subscription(subscription_id, enabled=False)
    _say(changed, f"{changed['name']} is told nothing", as_json)


@app.command("delete")
def delete(
    subscription_id: IdArgument,
    yes: YesOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete one for good, with its messages."""
    with connect(url, key) as client:
        name = client.subscription(subscription_id)["name"]
        confirm(f"Delete the notification {name} with its messages for good?", yes=yes)
        client.unsubscribe(subscription_id)
    _say({"id": subscription_id, "deleted": True}, f"deleted {subscription_id}", as_json)


def _say(reply: Any, text: str, as_json: bool) -> None:
    if as_json:
        print_json(reply)
    else:
        make_console().print(text)


def _state(one: Subscription) -> str:
    if not one["enabled"]:
        return "off"
    return "not arriving" if one["failing_since"] else "on"


def _answer(message: Message) -> str:
    if not message["tries"]:
        return ""
    last = message["tries"][-1]
    return last["error"] or str(last["status_code"] or "taken")
