"""One crowd as a process: reads its plan as a line of JSON, prints `ready`, and goes on until its input ends.

Crowds run at the lowest priority, so that what is measured is the service and not their share of the same cores.
"""

import asyncio
import json
import os
import resource
import sys
from contextlib import suppress
from pathlib import Path

from benchmarks.files import write_bytes
from benchmarks.load.crowds import Neighbour, Plan, Predictors, Uploaders, carry_out
from benchmarks.load.holders import Tricklers, Watchers

KINDS = {
    "predictors": Predictors,
    "neighbour": Neighbour,
    "uploaders": Uploaders,
    "watchers": Watchers,
    "tricklers": Tricklers,
}
STDIN = 0


def main() -> None:
    """Be a crowd."""
    plan = Plan(**json.loads(sys.stdin.readline()))
    _step_back(plan.niceness)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    seen = asyncio.run(_go_on(plan))
    write_bytes(Path(plan.out), json.dumps(seen).encode())


async def _go_on(plan: Plan) -> dict[str, object]:
    crowd = KINDS[plan.kind](plan)
    ended = asyncio.Event()

    def look() -> None:
        if not os.read(STDIN, 1024):
            asyncio.get_running_loop().remove_reader(STDIN)
            ended.set()

    asyncio.get_running_loop().add_reader(STDIN, look)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    return await carry_out(crowd, _until(ended))


async def _until(ended: asyncio.Event) -> None:
    await ended.wait()


def _step_back(niceness: int) -> None:
    """Take the lowest priority, in a session of our own where the scheduler groups by sessions."""
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(niceness))
    os.nice(niceness)


if __name__ == "__main__":
    main()
