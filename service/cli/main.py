"""The `filopodia` command line: collects the commands, and turns problems into exit codes.

Exit codes: 0 ok, 1 the service said no (or did not answer), 2 wrong use.
"""

import os
import sys
from contextlib import suppress

import typer

from registry.errors import SettingsError
from registry.streams import ready_streams, settle
from service.cli import (
    bundles,
    classes,
    demo,
    keys,
    learning,
    listing,
    operating,
    predicting,
    serving,
    tasks,
    unlearning,
)
from service.cli.output import make_console
from service.cli.problems import explain
from service.client import ClientError, EmptyFolderError, ProblemError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Filopodia keeps learning image classes: post labelled images, ask what others show.",
)
app.command()(serving.serve)
app.command()(serving.worker)
app.command()(learning.learn)
app.command()(unlearning.unlearn)
app.command()(unlearning.rollback)
app.command()(unlearning.delete)
app.command()(predicting.predict)
app.command()(predicting.feedback)
app.command()(listing.history)
app.command()(listing.learners)
app.command()(listing.tasks)
app.command("task")(tasks.show_task)
app.command()(tasks.publish)
app.command()(tasks.cancel)
app.command()(tasks.retry)
app.command()(listing.versions)
app.command("classes")(classes.list_classes)
app.command()(classes.rename_class)
app.command()(classes.hide_class)
app.add_typer(keys.app, name="keys")
app.command()(listing.audit)
app.command()(listing.strategies)
app.command()(demo.demo)
app.command("demo-compare")(demo.demo_compare)
app.command()(bundles.export)
app.command("import")(bundles.import_)
app.command()(operating.migrate)
app.command()(operating.backup)
app.command()(operating.restore)
app.command()(operating.doctor)


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
                make_console(stderr=True).print(_sentence(failure), style="red", soft_wrap=True)
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
    except ProblemError as problem:
        console = make_console(stderr=True)
        sentence, *lines = explain(problem)
        console.print(sentence, style="red")
        for line in lines:
            console.print(line, soft_wrap=True)
        sys.exit(1)
    except ClientError as error:
        make_console(stderr=True).print(str(error), style="red")
        sys.exit(1)
    except SettingsError as error:
        make_console(stderr=True).print(str(error), style="red", soft_wrap=True)
        sys.exit(1)
    except EmptyFolderError as error:
        make_console(stderr=True).print(str(error), style="red")
        sys.exit(2)


if __name__ == "__main__":
    main()
