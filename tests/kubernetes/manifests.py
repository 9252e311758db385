"""The Kubernetes manifests as `kubectl kustomize` puts them together, offline."""

import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "kubernetes"
FOLDERS = ("base", "overlays/everything", "overlays/gpu", "overlays/s3")
"""What can be applied."""

Manifest = dict[str, Any]


@cache
def built(name: str) -> tuple[Manifest, ...]:
    """Return all objects of a folder.

    Raises:
        subprocess.CalledProcessError: If it cannot be built.
    """
    return build(FOLDER / name)


def build(folder: Path) -> tuple[Manifest, ...]:
    """Return all objects of any kustomization."""
    command = ["kubectl", "kustomize", "--load-restrictor=LoadRestrictionsNone", str(folder)]
    ran = subprocess.run(command, check=True, capture_output=True, text=True)
    return tuple(yaml.safe_load_all(ran.stdout))


def find(name: str, kind: str, called: str) -> Manifest:
    """Return one object of a folder; generated names begin with `called`."""
    (found,) = [
        manifest
        for manifest in built(name)
        if manifest["kind"] == kind and manifest["metadata"]["name"].startswith(called)
    ]
    return found


def pods(name: str) -> dict[str, Manifest]:
    """Return what pods of a folder are made from, by the name of what makes them."""
    return {
        manifest["metadata"]["name"]: manifest["spec"]["template"]
        for manifest in built(name)
        if "template" in manifest.get("spec", {})
    }


def containers(template: Manifest) -> list[Manifest]:
    """Return all containers of a pod."""
    spec = template["spec"]
    return [*spec.get("initContainers", []), *spec["containers"]]


def environment(name: str, container: Manifest) -> dict[str, str]:
    """Return the variables that config maps and the manifest give to a container."""
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        if reference := source.get("configMapRef"):
            found |= find(name, "ConfigMap", reference["name"])["data"]
    return found | {variable["name"]: variable["value"] for variable in container.get("env", [])}
