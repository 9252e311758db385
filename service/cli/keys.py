"""`filopodia keys`: who may talk to the service."""

from enum import StrEnum
from typing import Annotated

import typer

from service.cli.options import JsonOption, KeyOption, UrlOption, connect
from service.cli.output import make_console, print_json, print_table

app = typer.Typer(no_args_is_help=True, help="API keys: create, list, revoke.")


class Role(StrEnum):
    """What a key may do; each role includes the ones before it."""

    reader = "reader"
    predictor = "predictor"
    trainer = "trainer"
    admin = "admin"


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="Who or what the key is for.")],
    role: Annotated[Role, typer.Option(help="What it may do.")] = Role.predictor,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Create a key and print it: it is shown this once."""
    with connect(url, key) as client:
        made = client.create_key(name, role.value)
    if as_json:
        print_json(made)
        return
    make_console(stderr=True).print(f"{made['role']} key {made['name']}, shown this once:")
    typer.echo(made.get("key", ""))


@app.command("list")
def list_keys(url: UrlOption = None, key: KeyOption = None, as_json: JsonOption = False) -> None:
    """List the keys, without their secrets."""
    with connect(url, key) as client:
        found = client.keys()
    if as_json:
        print_json(found)
        return
    print_table(
        ("id", "name", "role", "created", "revoked"),
        (
            (
                item["id"],
                item["name"],
                item["role"],
                item["created_at"][:19].replace("T", " "),
                (item.get("revoked_at") or "")[:19].replace("T", " "),
            )
            for item in found
        ),
        empty="No key.",
    )


@app.command("revoke")
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, from `keys list`.")],
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Revoke a key: whoever has it is out at once."""
    with connect(url, key) as client:
        client.revoke_key(key_id)
    if as_json:
        print_json({"id": key_id, "revoked": True})
    else:
        make_console().print(f"revoked {key_id}")
