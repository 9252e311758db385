"""The `filopodia` command line: lists the commands, and turns problems into exit codes.

Exit codes: 0 ok, 1 the service said no (or did not answer), 2 wrong use.
"""

import importlib
import os
import sys
from contextlib import suppress
from enum import StrEnum
from typing import Annotated

import typer
from typer.completion import install_callback, show_callback

from registry.streams import ready_streams, settle
from service.cli.commands import CommandTable, Listed
from service.cli.terminal import harmless

COMMANDS = {
    "Begin": (
        (
            "demo",
            "service.cli.local.demo:demo",
            "Watch it learn digits on photographs, two by two.",
        ),
        ("demo-compare", "service.cli.local.demo:demo_compare", "Learn them in three ways."),
        ("serve", "service.cli.local.serving:serve", "Run the service: database, worker and HTTP."),
        ("samples", "service.cli.local.samples:samples", "Write pictures to try the service with."),
        ("login", "service.cli.login:login", "Print a link that logs a browser in, once."),
    ),
    "Learn": (
        ("learn", "service.cli.learning:learn", "Learn a folder of photos, sorted by class."),
        (
            "consolidate",
            "service.cli.consolidating:consolidate",
            "Train on what was learned, now.",
        ),
        ("tasks", "service.cli.listing:tasks", "List what is, was and will be learned."),
        ("task", "service.cli.tasks:show_task", "Show all about one task."),
        ("publish", "service.cli.tasks:publish", "Serve a held task after all."),
        (
            "cancel",
            "service.cli.tasks:cancel",
            "Stop a task or a prediction job, or discard a held task.",
        ),
        ("retry", "service.cli.tasks:retry", "Learn a failed task again."),
    ),
    "Ask": (
        ("predict", "service.cli.predicting:predict", "Say what photos show."),
        ("watch", "service.cli.watching:watch", "Predict or learn what comes into a folder."),
        (
            "predict-again",
            "service.cli.predicting_again:predict_again",
            "Ask about stored images again, to see what changes.",
        ),
        ("predictions", "service.cli.predictions:predictions", "List what was answered before."),
        ("feedback", "service.cli.feedback:feedback", "Say what a photo really shows."),
        ("review", "service.cli.review:review", "List the photos to say something about."),
        (
            "jobs",
            "service.cli.jobs:jobs",
            "List prediction jobs: archives, and stored images again.",
        ),
        ("job", "service.cli.jobs:show_job", "Show what a prediction job came to."),
        (
            "test",
            "service.cli.testing:measure",
            "Measure a learner on photos whose class you know.",
        ),
    ),
    "Look": (
        ("status", "service.cli.status:status", "Say whether anything is wrong, and what to do."),
        ("learners", "service.cli.listing:learners", "List the learners."),
        ("classes", "service.cli.classes:list_classes", "List what a learner knows."),
        ("images", "service.cli.correcting:list_images", "List the images of a class."),
        (
            "suspects",
            "service.cli.suspects:suspects",
            "List images whose label looks wrong.",
        ),
        ("history", "service.cli.listing:history", "Show the accuracy after every task."),
        ("versions", "service.cli.listing:versions", "List a learner's versions."),
        ("strategies", "service.cli.listing:strategies", "List the ways to learn."),
        ("backbones", "service.cli.listing:backbones", "List the frozen networks to learn on."),
    ),
    "Change": (
        ("rename-class", "service.cli.classes:rename_class", "Call a class by another name."),
        ("hide-class", "service.cli.classes:hide_class", "Leave a class out of all answers."),
        (
            "answer-from",
            "service.cli.classes:answer_from",
            "Say from which score a class is known.",
        ),
        (
            "move-images",
            "service.cli.correcting:move_images",
            "Move learned images to another class.",
        ),
        ("remove-images", "service.cli.correcting:remove_images", "Take learned images out."),
        ("undo", "service.cli.correcting:undo", "Take such a correction back."),
        ("rollback", "service.cli.unlearning:rollback", "Serve an older or newer version."),
        ("unlearn", "service.cli.unlearning:unlearn", "Take tasks or classes out for good."),
        (
            "delete",
            "service.cli.unlearning:delete",
            "Delete a learner or a prediction job for good.",
        ),
        ("export", "service.cli.bundles:export", "Write a learner to one file."),
        ("import", "service.cli.bundles:import_", "Make a learner of such a file."),
    ),
    "Operate": (
        ("keys", "service.cli.keys:app", "Create, list and revoke API keys."),
        (
            "notifications",
            "service.cli.notifications:app",
            "Tell other programs of what happens.",
        ),
        ("audit", "service.cli.listing:audit", "List what was changed, and by whom."),
        ("worker", "service.cli.local.serving:worker", "Run one more worker that learns."),
        (
            "background",
            "service.cli.local.background:background",
            "Measure general images for a backbone.",
        ),
        ("doctor", "service.cli.local.operating:doctor", "Check the installation."),
        ("backup", "service.cli.local.operating:backup", "Write everything to one file."),
        ("restore", "service.cli.local.operating:restore", "Bring back what a backup holds."),
        (
            "migrate",
            "service.cli.local.operating:migrate",
            "Bring the database's schema up to date.",
        ),
    ),
}
"""By heading: each command's name, where its code is, and what `filopodia --help` says of it.

Those in `service.cli.local` need the server's packages; all others get along with what the client needs.
"""


class Commands(CommandTable):
    """All commands, in the order of the help."""

    listed = tuple(
        Listed(*command, heading) for heading, commands in COMMANDS.items() for command in commands
    )


class Shell(StrEnum):
    """A shell whose Tab key can be taught the commands."""

    bash = "bash"
    zsh = "zsh"
    fish = "fish"


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
    help="Filopodia keeps learning image classes: post labelled images, ask what others show.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        # Loaded by name, and only here: no command waits for what reads the files of packages.
        metadata = importlib.import_module("importlib.metadata")
        typer.echo(f"filopodia {metadata.version('filopodia')}")
        raise typer.Exit


@app.callback()
def _options(
    show_version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version, and exit."
        ),
    ] = False,
    install_completion: Annotated[
        Shell | None,
        typer.Option(
            callback=install_callback,
            is_eager=True,
            help="Let Tab complete commands and learners in this shell, from its next start on.",
        ),
    ] = None,
    show_completion: Annotated[
        Shell | None,
        typer.Option(
            callback=show_callback, is_eager=True, help="Print what that would install, and exit."
        ),
    ] = None,
) -> None:
    """Hold the options before the command; each acts by its callback."""


def main() -> None:
    """Run the command line. An output that cannot be written ends it with exit code 1, a closed pipe without a word."""
    ready_streams()
    try:
        _run()
    except SystemExit:
        failure = settle()
        if failure is None:
            raise
    except OSError as error:
        failure = settle() or error
    else:
        failure = settle()
    if failure is not None:
        if not isinstance(failure, BrokenPipeError):
            with suppress(OSError):
                typer.echo(harmless(_sentence(failure)), err=True)
        sys.exit(1)


def _sentence(error: OSError) -> str:
    """Return what a person is told of a file, or of the standard output, which has no name."""
    reason = error.strerror or str(error)
    if error.filename is None:
        return f"The output cannot be written: {reason}."
    return f"{os.fsdecode(error.filename)}: {reason}."


def _run() -> None:
    try:
        app()
    except Exception as error:
        # Loaded by name, and only here: it brings the client, which help and completion do without.
        code = importlib.import_module("service.cli.failures").report(error)
        if code is None:
            raise
        sys.exit(code)


if __name__ == "__main__":
    main()
