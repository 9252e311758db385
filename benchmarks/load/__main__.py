"""A load that is held: `python -m benchmarks.load --profile full --out benchmarks/results/load.json`.

One real service; all at once, clients that predict on connections kept alive, bursts of uploads that are insisted on,
event streams held open, and bodies that come a byte a second, while it learns what is uploaded. A neighbour at normal
priority asks at fixed times before, during and after. Exit code 1 if a promise is broken. Timings are of this machine,
all clients on it: take the ratios.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from benchmarks.bad_input.service import Service
from benchmarks.files import write_bytes
from benchmarks.load.profiles import PROFILES
from benchmarks.load.run import Load
from benchmarks.pace import measure

SIZES = ("clients", "uploads", "streams", "slow_bodies")


def main() -> int:
    """Carry out one load and print what it showed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__)
    parser.add_argument("--profile", choices=sorted(PROFILES), default="full")
    parser.add_argument("--minutes", type=float, help="of load")
    parser.add_argument("--clients", type=int)
    parser.add_argument("--uploads", type=int)
    parser.add_argument("--streams", type=int)
    parser.add_argument("--slow-bodies", type=int)
    parser.add_argument("--seed", type=int, default=1, help="decides images and pauses")
    parser.add_argument(
        "--pace", type=float, help="how many times as slow the machine is; default: measured"
    )
    parser.add_argument("--out", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    sizes = {name: getattr(arguments, name) for name in SIZES}
    if arguments.minutes is not None:
        sizes["load_s"] = 60 * arguments.minutes
    profile = PROFILES[arguments.profile].resized(sizes)
    pace = arguments.pace or measure()
    with (
        tempfile.TemporaryDirectory(prefix="filopodia-load-") as name,
        Service(Path(name), backbone=profile.backbone) as service,
    ):
        service.teach("heron", "egret")
        own = Path(name) / "load"
        own.mkdir()
        outcome = Load(service, profile, own, seed=arguments.seed, pace=pace).carry_out()
        outcome["tracebacks_logged"] = (Path(name) / "log").read_text().count("Traceback")
    report = {
        "command": "python -m benchmarks.load",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, all clients on them",
        "profile": asdict(profile),
        "seed": arguments.seed,
        "pace": round(pace, 2),
        **outcome,
    }
    sys.stdout.write(json.dumps(report, indent=1) + "\n")
    if arguments.out is not None:
        write_bytes(arguments.out, (json.dumps(report, indent=1) + "\n").encode())
    return 0 if report["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
