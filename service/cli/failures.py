"""What the command line says when the service, or what was asked of it, fails."""

from service.cli.commands import ServerMissingError
from service.cli.output import make_console
from service.cli.problems import explain
from service.client import ClientError, ProblemError
from service.layout.errors import LayoutError, StraySplitError


def report(error: Exception) -> int | None:
    """Print what went wrong and return the exit code; None for an error that is none of ours."""
    console = make_console(stderr=True)
    match error:
        case ProblemError():
            sentence, *lines = explain(error)
            console.print(sentence, style="red")
            for line in lines:
                console.print(line, soft_wrap=True)
            return 1
        case ClientError():
            console.print(str(error), style="red")
            return 1
        case ServerMissingError():
            console.print(str(error), style="red", soft_wrap=True)
            return 1
        case LayoutError():
            console.print(error.sentence, style="red", soft_wrap=True)
            if isinstance(error, StraySplitError):
                console.print("--no-splits reads such folders as classes.")
            return 2
    return None
