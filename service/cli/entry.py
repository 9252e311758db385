"""Where the `filopodia` program begins: `serve` greets before anything that takes time to load is loaded."""

import importlib
import sys

from service.startup import GREETING, Startup, on_terminal


def main() -> None:
    """Greet whoever starts a service, and run the command line."""
    is_serving = sys.argv[1:2] == ["serve"] and "--help" not in sys.argv
    startup = on_terminal() if is_serving else Startup(None)
    startup.say(GREETING)
    with startup.step("Loading the command line"):
        command_line = importlib.import_module("service.cli.main")
    command_line.main()
