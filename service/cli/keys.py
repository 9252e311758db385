"""`filopodia keys`: who may talk to the service."""

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

import typer

from service.cli.confirmation import YesOption, confirm
from service.cli.options import JsonOption, KeyOption, UrlOption, connect
from service.cli.output import make_console, print_json, print_table
from service.cli.times import second, span
from service.remote.replies import Key, KeyQuotas

NO_LIMIT = "none"
QUOTAS = tuple(KeyQuotas.__annotations__)
"""What a key may be limited in."""

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="API keys: create, list, limit, revoke."
)


class Role(StrEnum):
    """What a key may do; each role includes the ones before it."""

    reader = "reader"
    predictor = "predictor"
    trainer = "trainer"
    admin = "admin"


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who or what the key is for.")],
    role: Annotated[Role, typer.Option(help="What it may do.")] = Role.predictor,
    learner: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Learner it is limited to; may be given several times."),
    ] = None,
    expires_in: Annotated[
        str | None, typer.Option(metavar="TIME", help="Stop working after e.g. 30d, 12h or 8w.")
    ] = None,
    quota: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LIMIT=N",
            help="Limit of its own, e.g. tasks_per_day=5, or =none; may be given several times.",
        ),
    ] = None,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Create a key and print it: it is shown this once."""
    with connect(url, key) as client:
        created = client.create_key(
            name,
            role.value,
            learners=learner or None,
            expires_at=None if expires_in is None else datetime.now(UTC) + span(expires_in),
            quotas=dict(map(limit, quota)) if quota else None,
        )
    if as_json:
        print_json(created)
        return
    make_console(stderr=True).print(f"{created['role']} key {created['name']}, shown this once:")
    typer.echo(created.get("key", ""))


@app.command("list")
def list_keys(
    used: Annotated[
        bool,
        typer.Option("--used", help="Also how much was posted with each in 24 hours, and of what."),
    ] = False,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the keys, without their secrets."""
    with connect(url, key) as client:
        keys = client.keys()
    if as_json:
        print_json(keys)
        return
    has_quotas = any(item.get("quotas") for item in keys)
    print_table(
        (
            "id",
            "name",
            "role",
            "learners",
            *(("quotas",) if has_quotas else ()),
            *(("tasks, images in 24 h",) if used else ()),
            "created",
            "last used",
            "expires",
            "revoked",
        ),
        (
            (
                item["id"],
                item["name"],
                item["role"],
                _learners(item),
                *((_quotas(item),) if has_quotas else ()),
                *((_day(item),) if used else ()),
                second(item["created_at"]),
                second(item.get("last_used_at")),
                second(item.get("expires_at")),
                second(item.get("revoked_at")),
            )
            for item in keys
        ),
        empty="No key.",
    )


@app.command("limit")
def limit_key(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, from `keys list`.")],
    quotas: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[LIMIT=N...]",
            help="All limits of its own, e.g. tasks_per_day=5, or =none; without any, those of the installation hold.",
        ),
    ] = None,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give a key other limits, in the place of all that it had."""
    with connect(url, key) as client:
        changed = client.limit_key(key_id, dict(map(limit, quotas or ())))
    if as_json:
        print_json(changed)
    else:
        said = _quotas(changed) or "as the installation"
        make_console().print(f"{changed['name']} is limited: {said}; today {_day(changed)}")


@app.command("revoke")
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, from `keys list`.")],
    yes: YesOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Revoke a key for good: whoever has it is out at once."""
    with connect(url, key) as client:
        known = {item["id"]: item for item in client.keys()}  # noqa: SIM118 - these are API keys
        if key_id in known:
            revoked = known[key_id]
            confirm(f"Revoke the {revoked['role']} key {revoked['name']} for good?", yes=yes)
        client.revoke_key(key_id)
    if as_json:
        print_json({"id": key_id, "revoked": True})
    else:
        make_console().print(f"revoked {key_id}")


def limit(text: str) -> tuple[str, int | None]:
    """Return a limit's name and value; None is no limit.

    Raises:
        typer.BadParameter: If it is not written as `LIMIT=N`, or there is no such limit.

    Example:
        >>> limit("tasks_per_day=5"), limit("images_per_day=none")
        (('tasks_per_day', 5), ('images_per_day', None))
    """
    name, _, value = text.partition("=")
    if value and name not in QUOTAS:
        raise typer.BadParameter(f"There is no limit {name}, only {', '.join(QUOTAS)}.")
    if value == NO_LIMIT:
        return name, None
    if not (name and value.isascii() and value.isdigit()):
        raise typer.BadParameter("Write a limit and its value: tasks_per_day=5, or =none.")
    return name, int(value)


def _learners(key: Key) -> str:
    names = key.get("learners")
    return "all" if names is None else ", ".join(names)


def _quotas(key: Key) -> str:
    limits = key.get("quotas", {}).items()
    return ", ".join(f"{name}={NO_LIMIT if most is None else most}" for name, most in limits)


def _day(key: Key) -> str:
    day: Mapping[str, Any] = key.get("day", {})  # a service of an earlier release does not say
    pairs = [(day.get(name), day.get(f"most_{name}")) for name in ("tasks", "images")]
    return ", ".join(
        f"{used}" if most is None else f"{used} of {most}"
        for used, most in pairs
        if used is not None
    )
