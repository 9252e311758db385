"""All tests in one command: most of them side by side, and those that measure time after them.

    python -m tests.suite [--quick] [--reports FOLDER] [arguments of pytest]

Much of a test is waiting, for processes that start, for leases and for kills: so there are more processes of pytest
than cores. Those that measure time (`timed`) come when the others are done, in two runs beside each other (on a single
core one after the other), of which each does one test after another. A few that failed beside others are run once more,
alone: what fails then too is broken, and what passes is named as unsteady. The faults get no second chance:
what a machine is slow at, they wait for. Says at the end how every part went; ends with 1 if one failed or ran nothing.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).parents[1]
MARK = "pytest.mark.timed"
MOST_PROCESSES = 4
"""More would not fit into the memory of a machine with a few cores: each holds a PyTorch of its own."""
FAILED = ("failures", "errors")
ENDED_WELL, TESTS_FAILED = 0, 1
MOST_UNSTEADY = 3
"""Tests that may fail beside others and pass alone: of thousands that start processes on shared cores some do, now and
then. If more fail, they are broken."""
AGAIN = ", again alone"


@dataclass(frozen=True)
class Part:
    """Some of the tests, in one run of pytest."""

    name: str
    marks: str
    options: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    """Where its tests are; nothing for everywhere."""
    alone: tuple[str, ...] | None = None
    """Options for those that failed, run once more; None if what fails is broken."""

    @property
    def first_name(self) -> str:
        """Of the part whose tests it runs again, or its own."""
        return self.name.removesuffix(AGAIN)

    def command(self, report: Path, more: Sequence[str]) -> list[str]:
        """Return what runs it, with a report in the format of JUnit. Paths among the arguments take precedence."""
        marked = ["-m", self.marks, f"--junitxml={report}"]
        is_told = any(Path(argument.partition("::")[0]).exists() for argument in more)
        files = () if is_told else self.files
        # Where pytest notes what failed: one for a part, and for its second run.
        failed = ("-o", f"cache_dir={report.parent / self.first_name}.failed")
        return [sys.executable, "-m", "pytest", *marked, *self.options, *failed, *more, *files]


@dataclass(frozen=True)
class Result:
    """How a part went."""

    part: Part
    code: int
    counts: dict[str, int]
    took_s: float
    failed: frozenset[str]
    """Names of the tests that failed, or could not be set up or cleaned up."""
    again: "Result | None" = None
    """How those went that were run once more."""

    @property
    def is_good(self) -> bool:
        """Whether it ran something and nothing failed, or passed alone, each of it."""
        if self.again is not None:
            return self.again.is_good and self.again.counts["tests"] >= len(self.failed)
        return self.code == ENDED_WELL and self.counts["tests"] > 0 and not self.failed

    def __str__(self) -> str:
        told = ", ".join(f"{count} {name}" for name, count in self.counts.items())
        how = "passed" if self.is_good else f"FAILED (pytest ended with {self.code})"
        lines = [f"{self.part.name}: {how}; {told}; {self.took_s:.0f} s"]
        if self.again is not None:
            steady_alone = sorted(self.failed - self.again.failed)
            lines += [
                str(self.again),
                *(f"UNSTEADY, to be mended: {name}" for name in steady_alone),
            ]
        return "\n".join(lines)


def parts(n_cores: int, *, quick: bool) -> list[list[Part]]:
    """Return the parts of the suite for a machine with so many cores: in turn, and of each turn beside each other."""
    spread = ("-n", str(min(MOST_PROCESSES, n_cores + 1)), "--dist", "worksteal")
    if quick:
        marks = "not gpu and not timed and not slow and not browser and not chaos"
        return [[Part("quick", marks, (*spread, "-x"))]]
    attacks = "timed(group='attacks and load')"
    alone = ("--last-failed", "--last-failed-no-failures", "none")
    load = Part("attacks and load", f"not gpu and {attacks}", files=timed_files())
    faults = Part("faults", f"not gpu and timed and not {attacks}", files=timed_files())
    # Of what was late beside the faults, which keep all cores busy, only another try tells why.
    turns = [[replace(load, alone=alone), faults]] if n_cores > 1 else [[load], [faults]]
    return [[Part("side by side", "not gpu and not timed", spread, alone=alone)], *turns]


def timed_files() -> tuple[str, ...]:
    """Return the files that mark a test as timed: reading all others takes half a minute."""
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    return tuple(str(file.relative_to(ROOT)) for file in files if MARK in file.read_text("utf-8"))


def run(turn: Sequence[Part], reports: Path, more: Sequence[str]) -> list[Result]:
    """Run parts beside each other, with their reports in a folder. What the others print comes after the first."""

    def run_part(part: Part) -> tuple[Result, str]:
        report = reports / f"{part.name.replace(',', '').replace(' ', '-')}.xml"
        printed = None if part is turn[0] else subprocess.PIPE
        started = time.monotonic()
        done = subprocess.run(
            part.command(report, more),
            stdout=printed,
            stderr=None if printed is None else subprocess.STDOUT,
            text=True,
            check=False,
        )
        took_s = time.monotonic() - started
        result = Result(part, done.returncode, counted(report), took_s, failed(report))
        return result, done.stdout or ""

    with ThreadPoolExecutor(len(turn)) as pool:
        results, texts = zip(*pool.map(run_part, turn), strict=True)
    sys.stdout.write("".join(texts))
    return list(results)


def run_again(result: Result, reports: Path, more: Sequence[str]) -> Result:
    """Run what failed of a part once more, alone, if it may be unsteady; return how it all went."""
    part, n_failed = result.part, len(result.failed)
    if part.alone is None or result.code != TESTS_FAILED or not 0 < n_failed <= MOST_UNSTEADY:
        return result
    second = replace(part, name=f"{part.name}{AGAIN}", options=part.alone, alone=None)
    (again,) = run([second], reports, more)
    return replace(result, again=again)


def counted(report: Path) -> dict[str, int]:
    """Return how many tests a report is about, and how many of them failed or were skipped; 0 without a report."""
    if not report.exists():
        return dict.fromkeys(("tests", *FAILED, "skipped"), 0)
    suite = read(report)
    # What the suite itself says of its number counts the parts of a test again, where it has some.
    tests = len(suite.findall("testcase"))
    return {"tests": tests, **{name: int(suite.get(name, 0)) for name in (*FAILED, "skipped")}}


def failed(report: Path) -> frozenset[str]:
    """Return the names of the tests that failed by a report, or could not be set up or cleaned up."""
    cases = read(report).iter("testcase") if report.exists() else ()
    return frozenset(
        f"{case.get('classname')}::{case.get('name')}"
        for case in cases
        if case.find("failure") is not None or case.find("error") is not None
    )


def read(report: Path) -> ElementTree.Element:
    """Return the one suite that a report is about."""
    (suite,) = ElementTree.parse(report).getroot()  # noqa: S314 - we have written it
    return suite


def main(arguments: Sequence[str]) -> int:
    """Run all parts, also after one that failed, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.suite")
    parser.add_argument("--quick", action="store_true", help="only the tests that take seconds")
    parser.add_argument("--reports", type=Path, help="an empty folder for reports of JUnit")
    given, more = parser.parse_known_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        reports = given.reports or Path(folder)
        turns = parts(len(os.sched_getaffinity(0)), quick=given.quick)
        results = [
            run_again(result, reports, more)
            for turn in turns
            for result in run(turn, reports, more)
        ]
    sys.stdout.write("\n" + "".join(f"{result}\n" for result in results))
    return 0 if all(result.is_good for result in results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
