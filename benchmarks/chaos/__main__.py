"""Run the fault tests: `python -m benchmarks.chaos --seed 1 --profile quick`. Exit code 1 if a promise was broken.

The folder of logs and of the clients' history is kept then. The same seed gives the same faults in
the same order, as far as each finds something to strike at when its turn comes.
"""

import argparse
import json
import os
import platform
import secrets
import shutil
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.chaos.cluster import Cluster, PortTakenError
from benchmarks.chaos.report import to_markdown
from benchmarks.chaos.run import Run
from benchmarks.chaos.schedule import PROFILES
from registry.logs import configure_logging


def main() -> int:
    """Run one profile and print its report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos")
    parser.add_argument("--seed", type=int, default=1, help="decides faults and images")
    parser.add_argument("--profile", choices=sorted(PROFILES), default="quick")
    parser.add_argument(
        "--pace",
        type=float,
        default=1.0,
        help="how many times as slow the machine is (python -m benchmarks.pace): times are longer, the load lighter",
    )
    parser.add_argument("--out", type=Path, help="write the report here, as JSON")
    parser.add_argument("--first-port", type=int, help="first of four ports; default: free ones")
    parser.add_argument("--keep", action="store_true", help="keep the folder of logs in any case")
    arguments = parser.parse_args()
    configure_logging()
    # Not below a private folder: PostgreSQL runs as another user when we are root.
    folder = Path(tempfile.mkdtemp(prefix="filopodia-chaos-"))
    started = time.monotonic()
    try:
        cluster = Cluster(folder, run_id=secrets.token_hex(8), first_port=arguments.first_port)
    except PortTakenError as error:
        shutil.rmtree(folder)
        sys.stderr.write(f"{error}\n")
        return 2
    run = Run(cluster, PROFILES[arguments.profile], arguments.seed, pace=arguments.pace)
    report = run.carry_out()
    report = {
        "command": "python -m benchmarks.chaos",
        "profile": arguments.profile,
        "seed": arguments.seed,
        "pace": arguments.pace,
        "seconds": round(time.monotonic() - started, 1),
        "machine": {"processor": platform.machine(), "cores": os.cpu_count()},
        **report,
    }
    sys.stdout.write(to_markdown(report))
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(report, indent=1) + "\n")
    if report["ok"] and not arguments.keep:
        shutil.rmtree(folder)
    else:
        sys.stdout.write(f"\nSeed {arguments.seed}; logs and history are in {folder}\n")
    return 0 if report["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
