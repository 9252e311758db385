"""A Python that finds what `pip install filopodia` brings and nothing else, as on a machine with the client alone."""

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.declared import PROJECT, ROOT, requirements

_REFUSE = """
import sys
refused = frozenset({refused})

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in refused:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""
COMMAND_LINE = "from service.cli.entry import main; main()"


@cache
def with_client(*names: str) -> frozenset[str]:
    """Return the names of the packages that come with the client, those that they need included.

    Args:
        names: Only these of what is declared for it, and what they need; all if left out.
    """
    found: set[str] = {PROJECT["name"]}
    waiting = [needed for needed in requirements() if not names or needed.name in names]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name not in found and _is_installed(name):
            found.add(name)
            waiting += _needs(name, requirement.extras)
    return frozenset(found)


def _is_installed(name: str) -> bool:
    try:
        requires(name)
    except PackageNotFoundError:
        return False
    return True


def _needs(name: str, extras: set[str]) -> Iterator[Requirement]:
    for needed in map(Requirement, requires(name) or ()):
        is_wanted = needed.marker is None or any(
            needed.marker.evaluate({"extra": extra}) for extra in ("", *extras)
        )
        if is_wanted:
            yield needed


@cache
def absent(*names: str) -> frozenset[str]:
    """Return the modules of all other installed packages; `names` as for `with_client`."""
    there = with_client(*names)
    return frozenset(
        module
        for module, packages in packages_distributions().items()
        if not {canonicalize_name(name) for name in packages} & there
    )


def run_alone(
    code: str,
    *arguments: object,
    cwd: Path,
    refused: frozenset[str] | None = None,
    **settings: str,
) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process of its own that lacks what `absent` names, or the modules that are `refused`."""
    whole = _REFUSE.format(refused=sorted(refused or absent())) + code
    clean: dict[str, Any] = {k: v for k, v in os.environ.items() if not k.startswith("FILOPODIA_")}
    return subprocess.run(
        [sys.executable, "-c", whole, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=clean | settings | {"PYTHONPATH": str(ROOT)},
        check=False,
    )
