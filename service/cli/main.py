"""The `filopodia` command line: collects the commands, and turns problems into exit codes.

Exit codes: 0 ok, 1 the service said no (or did not answer), 2 wrong use.
"""

import sys

import typer

from service.cli import (
    bundles,
    classes,
    demo,
    keys,
    learning,
    listing,
    login,
    operating,
    predicting,
    samples,
    serving,
    tasks,
    unlearning,
)
from service.cli.output import make_console
from service.cli.problems import explain
from service.client import ClientError, ProblemError
from service.layout.errors import LayoutError, StraySplitError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Filopodia keeps learning image classes: post labelled images, ask what others show.",
)
app.command()(serving.serve)
app.command()(serving.worker)
app.command()(login.login)
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
app.command()(samples.samples)
app.command()(demo.demo)
app.command("demo-compare")(demo.demo_compare)
app.command()(bundles.export)
app.command("import")(bundles.import_)
app.command()(operating.migrate)
app.command()(operating.backup)
app.command()(operating.restore)
app.command()(operating.doctor)


def main() -> None:
    """Run the command line."""
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
    except LayoutError as error:
        console = make_console(stderr=True)
        console.print(error.sentence, style="red", soft_wrap=True)
        if isinstance(error, StraySplitError):
            console.print("--no-splits learns such folders as classes.")
        sys.exit(2)


if __name__ == "__main__":
    main()
