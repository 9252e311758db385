"""Options that several commands share, and how a command finds the service and its key.

The address is `--url`, else `FILOPODIA_URL`, else what a service on this machine wrote to
`<data>/service.json`. The key is `--key`, else `FILOPODIA_KEY`, else the first admin key in
`<data>/admin.key`, which is only ever sent to this machine.
"""

import codecs
import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from service.client import Filopodia, Retries
from service.remote.connection import AROUND_KEYS, clean_key, is_loopback, through_interface

DEFAULT_URL = "http://127.0.0.1:8000"
DEFAULT_DATA_DIR = "filopodia-data"
COMPLETION_S = 0.5
"""Longest wait for the service while Tab is pressed."""
COMPLETED = 200
"""Most names offered at Tab."""


def learner_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the learners whose names begin so, to complete one: none if the service does not answer at once."""
    names: list[str] = []
    # Whatever is wrong, somebody is in the middle of a line: there is no place to say it.
    with suppress(Exception):
        address = find_address(ctx.params.get("url"), ctx.params.get("key"), data_dir())
        quick = Retries(most=0)
        with Filopodia(address.url, address.key, timeout_s=COMPLETION_S, retries=quick) as client:
            names = [learner["name"] for learner in client.learners(limit=COMPLETED)]
    return [name for name in names if name.startswith(incomplete)]


UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="FILOPODIA_URL",
        help="Address of the service; of the one on this machine unless set.",
    ),
]
KeyOption = Annotated[
    str | None,
    typer.Option(
        "--key", envvar="FILOPODIA_KEY", help="API key; the first one of this machine unless set."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
ManifestOption = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        dir_okay=False,
        help="List of files with their labels, which decides alone: CSV, JSON, or lines `path label`.",
    ),
]
LearnerArgument = Annotated[
    str,
    typer.Argument(metavar="NAME", help="Name of the learner.", autocompletion=learner_names),
]


@dataclass(frozen=True)
class Address:
    """Where a service is and the key to talk to it with."""

    url: str
    key: str


def connect(url: str | None, key: str | None) -> Filopodia:
    """Return a client of the service that the options, the environment or the data directory name.

    Raises:
        typer.BadParameter: If no key can be found.
    """
    address = find_address(url, key, data_dir())
    return Filopodia(address.url, address.key)


def data_dir() -> Path:
    """Return the data directory that the settings of the service name, without loading what reads all of them."""
    given = {name.upper(): value for name, value in os.environ.items()}
    return Path(given.get("FILOPODIA_DATA_DIR") or DEFAULT_DATA_DIR)


def find_address(url: str | None, key: str | None, data_dir: Path) -> Address:
    """Complete `url` and `key` from the data directory of a service on this machine.

    Raises:
        typer.BadParameter: If no key is given and none can be found, or it would leave this machine; or if the
            address has no scheme, or names an interface that this machine lacks.
    """
    found_url = (url or "").strip(AROUND_KEYS) or _url_in(data_dir / "service.json") or DEFAULT_URL
    if "://" not in found_url:
        raise typer.BadParameter(f"{found_url} lacks a scheme: write http://{found_url}")
    try:
        through_interface(found_url)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if key and (cleaned := _cleaned(key)):
        return Address(found_url, cleaned)
    if not is_loopback(found_url):
        raise typer.BadParameter(
            f"{found_url} is another machine: name its key with --key or FILOPODIA_KEY."
        )
    try:
        return Address(found_url, _cleaned(_text_of(data_dir / "admin.key")))
    except OSError:
        raise typer.BadParameter(
            "No key: give one with --key or FILOPODIA_KEY, or name the data directory of a service "
            f"on this machine with FILOPODIA_DATA_DIR ({data_dir} holds no admin.key)."
        ) from None


def _cleaned(key: str) -> str:
    try:
        return clean_key(key)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _text_of(file: Path) -> str:
    """Return what a file says, also one that a Windows editor or shell has saved anew."""
    data = file.read_bytes()
    is_utf_16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if is_utf_16 else "utf-8", "replace")


def _url_in(path: Path) -> str | None:
    try:
        return str(json.loads(path.read_text("utf-8"))["url"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
