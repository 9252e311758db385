"""Commands that are loaded when they run, so that `--help`, `--version` and a press of Tab load none of them.

A command brings what it works with: the client, a database, pictures. All of them together take a second to load, and
what those in `service.cli.local` bring need not be installed.
"""

import importlib.util
import inspect
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from typer.completion import get_completion_inspect_parameters
from typer.core import TyperCommand, TyperGroup

COMPLETION_OPTIONS = frozenset({"--install-completion", "--show-completion"})
SHELLS = frozenset({"bash", "zsh", "fish"})
LOCAL = "service.cli.local."
"""Where the commands lie that work on an installation of this machine."""
OF_SERVER = (
    "alembic",
    "celery",
    "fastapi",
    "numpy",
    "PIL",
    "psycopg",
    "pydantic_settings",
    "sqlalchemy",
    "torch",
)
"""What tells an installation with the server's packages from one of the client: some that no command of it needs."""


class ServerMissingError(Exception):
    """A command needs packages of the server, and they are not installed; the message is for the user."""


@dataclass(frozen=True)
class Listed:
    """A command as `filopodia --help` lists it, and where its code is."""

    name: str
    place: str
    """Module and name in it, `module:name`, of a function or of a `typer.Typer` with commands of its own."""
    summary: str
    heading: str
    """What it is listed under."""

    @property
    def can_run(self) -> bool:
        """Whether the packages that it needs are installed."""
        return not self.place.startswith(LOCAL) or all(map(is_installed, OF_SERVER))

    def load(self) -> Any:
        """Return the function or `typer.Typer` that it is.

        Raises:
            ServerMissingError: If it needs the server's packages, and they are not installed.
        """
        if not self.can_run:
            raise ServerMissingError(
                f"filopodia {self.name} needs the server's packages, and here is the client alone: "
                "pip install 'filopodia[server]'."
            )
        module, _, name = self.place.partition(":")
        return getattr(importlib.import_module(module), name)


class LazyCommand(TyperCommand):
    """Stands for a command until its arguments are read."""

    def __init__(self, listed: Listed) -> None:
        super().__init__(listed.name, help=listed.summary, rich_help_panel=listed.heading)
        self._listed = listed

    def make_context(self, info_name: Any, args: Any, parent: Any = None, **extra: Any) -> Any:
        """Read the arguments as the command itself does; the context is of that command."""
        if extra.get("resilient_parsing") and not self._listed.can_run:
            # Somebody presses Tab, in the middle of a line: there is no place to say what is missing.
            return super().make_context(info_name, args, parent=parent, **extra)
        return self.load().make_context(info_name, args, parent=parent, **extra)

    def load(self) -> Any:
        """Return the command itself."""
        loaded = self._listed.load()
        if not isinstance(loaded, typer.Typer):
            function, loaded = loaded, typer.Typer(add_completion=False)
            loaded.command(self._listed.name, help=unwrapped(inspect.getdoc(function)))(function)
        return typer.main.get_command(loaded)


def is_installed(package: str) -> bool:
    """Return whether a package can be imported, without importing it.

    Example:
        >>> is_installed("typer"), is_installed("no_such_package")
        (True, False)
    """
    try:
        return importlib.util.find_spec(package) is not None
    except ImportError:
        return False


def unwrapped(text: str | None) -> str:
    """Return a docstring with each paragraph in one line: a terminal breaks it where its own edge is."""
    return re.sub(r"(?<!\n)\n(?!\n)", " ", text or "")


class CommandTable(TyperGroup):
    """The commands of `filopodia`. A subclass names those that are `listed`."""

    listed: tuple[Listed, ...] = ()

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for listed in self.listed:
            self.add_command(LazyCommand(listed))

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run; typer's way to answer a shell that completes is known by then."""
        get_completion_inspect_parameters()
        return super().main(*args, **kwargs)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the options before the command. One about completion means the login shell if it names none."""
        shell = Path(os.environ.get("SHELL", "")).name
        if args and args[-1] in COMPLETION_OPTIONS and shell in SHELLS:
            args = [*args, shell]
        return super().parse_args(ctx, args)
