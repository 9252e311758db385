"""What `pyproject.toml` declares of packages, extras within extras included."""

import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = [*PROJECT["optional-dependencies"]]


def requirements(*extras: str) -> list[Requirement]:
    """Return what is installed with some extras, and without any."""
    found = list(map(Requirement, PROJECT["dependencies"]))
    for extra in extras:
        for requirement in map(Requirement, PROJECT["optional-dependencies"][extra]):
            if requirement.name == PROJECT["name"]:
                found += requirements(*requirement.extras)
            else:
                found.append(requirement)
    return found


def declared(*extras: str) -> set[str]:
    """Return the names of those packages."""
    return {canonicalize_name(requirement.name) for requirement in requirements(*extras)}
