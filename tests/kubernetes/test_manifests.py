"""What the Kubernetes manifests promise: they fit the schemas of Kubernetes, the code, and the compose file."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import kubernetes_validate
import pytest
import yaml

from registry.environment import KNOWN
from registry.settings import RegistrySettings
from service.cli.main import COMMANDS
from service.metrics import Metrics
from service.settings import ServiceSettings
from tests.kubernetes.manifests import (
    FOLDER,
    FOLDERS,
    ROOT,
    Manifest,
    build,
    built,
    containers,
    environment,
    find,
    pods,
)
from worker.settings import ENVIRONMENT_NAMES, WorkerSettings

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
VERSIONS = ("1.29.0", "1.36.0")
"""Of Kubernetes, whose schemas the manifests fit."""
OURS = ("filopodia-api", "filopodia-worker", "filopodia-migrate")
UID = 10001
OTHERS = {
    "AWS_REGION",
    "LANG",
    "NVIDIA_DRIVER_CAPABILITIES",
    "PGDATA",
    "POSTGRES_DB",
    "POSTGRES_INITDB_ARGS",
    "POSTGRES_PASSWORD_FILE",
    "POSTGRES_USER",
    "TMPDIR",
}
"""Variables of other programs."""


def selectors(manifest: Manifest) -> Iterator[dict[str, str]]:
    """Yield every selector of labels in an object."""
    for key, value in walked(manifest):
        if key == "matchLabels" or (key == "selector" and manifest["kind"] == "Service"):
            yield value


def walked(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield every key with what it holds, from outside to inside."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, held in inner:
        yield str(key), held
        if isinstance(held, dict | list):
            yield from walked(held)


@pytest.fixture(params=FOLDERS)
def folder(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("version", VERSIONS)
def test_everything_fits_the_schemas_of_kubernetes(folder: str, version: str) -> None:
    for manifest in built(folder):
        kubernetes_validate.validate(manifest, version, strict=True)


def test_a_field_that_does_not_exist_would_be_found():
    wrong = json.loads(json.dumps(find("base", "Deployment", "filopodia-api")))
    wrong["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


def test_the_way_in_can_be_added_to_any(folder, tmp_path):
    kustomization = {
        "resources": [os.path.relpath(FOLDER / folder, tmp_path)],
        "components": [os.path.relpath(FOLDER / "components" / "ingress", tmp_path)],
        "namespace": "birds",
        "images": [{"name": "filopodia", "newName": "registry.example.org/filopodia"}],
    }
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    manifests = build(tmp_path)
    assert [m["metadata"]["name"] for m in manifests if m["kind"] == "Ingress"] == ["filopodia"]
    for manifest in manifests:
        assert manifest["metadata"]["namespace"] == "birds"
        kubernetes_validate.validate(manifest, VERSIONS[-1], strict=True)
    images = re.findall(r"'image': '([^']*filopodia[^']*)'", str(manifests))
    assert set(images) == {"registry.example.org/filopodia"}


def test_no_namespace_and_no_secret_stands_in_the_tree(folder):
    for manifest in built(folder):
        assert "namespace" not in manifest["metadata"]
        assert manifest["kind"] != "Secret"
        assert not re.search(r"://[^/@\s]*:[^/@\s]*@", str(manifest)), "a password in a URL"


def test_every_pod_can_do_little(folder):
    for name, template in pods(folder).items():
        spec = template["spec"]
        assert spec["automountServiceAccountToken"] is False, name
        # Services would set variables such as FILOPODIA_PORT, which is a setting.
        assert spec["enableServiceLinks"] is False, name
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in containers(template):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert {"cpu", "memory"} <= set(container["resources"]["requests"]), name
            assert "memory" in container["resources"]["limits"], name
        for volume in spec["volumes"]:
            (kind,) = set(volume) - {"name"}
            assert kind in ("emptyDir", "secret", "persistentVolumeClaim"), (name, volume)
            assert kind != "emptyDir" or volume["emptyDir"]["sizeLimit"], (name, volume)


def test_ours_run_as_the_user_of_the_image(folder):
    assert f"USER {UID}:{UID}" in DOCKERFILE
    for name in OURS:
        context = pods(folder)[name]["spec"]["securityContext"]
        users = {context[key] for key in ("runAsUser", "runAsGroup", "fsGroup")}
        assert users == {UID}, name


def test_every_variable_is_known_and_every_value_passes(folder):
    names = {
        ENVIRONMENT_NAMES.get(name, f"FILOPODIA_{name.upper()}"): (kind, name)
        for kind in (RegistrySettings, WorkerSettings, ServiceSettings)
        for name in kind.model_fields
    }
    for template in pods(folder).values():
        for container in containers(template):
            for variable, value in environment(folder, container).items():
                assert variable in KNOWN or variable in names or variable in OTHERS, variable
                if variable in names:
                    kind, field = names[variable]
                    kind.read(**{field: value})


def test_what_is_mounted_is_what_the_settings_name(folder):
    for name in ("filopodia-api", "filopodia-worker"):
        (container,) = pods(folder)[name]["spec"]["containers"]
        mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        told = environment(folder, container)
        for variable in ("DATABASE_PASSWORD_FILE", "REDIS_PASSWORD_FILE"):
            assert told[variable].rpartition("/")[0] in mounts, name
        assert told["BLOB_URL"].startswith("s3://") or told["BLOB_URL"] in mounts, name
        assert ("/blobs" in mounts) == (folder != "overlays/s3")
        assert "/tmp" in mounts
        assert told["FILOPODIA_DATA_DIR"] in mounts or name == "filopodia-worker"
    in_image = re.findall(r"(?:HF|TORCH)_HOME=(/\w+)/", DOCKERFILE)
    assert set(in_image) <= set(mounts)


def test_the_first_key_and_the_secret_of_sessions_are_those_of_every_service():
    """They lie where the service looks for them, so that none makes its own."""
    (container,) = pods("base")["filopodia-api"]["spec"]["containers"]
    data = environment("base", container)["FILOPODIA_DATA_DIR"]
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert {f"{data}/admin.key", f"{data}/session.secret"} <= mounted


def test_volumes_and_mounts_fit_each_other(folder):
    for name, template in pods(folder).items():
        volumes = {volume["name"] for volume in template["spec"]["volumes"]}
        claims = {"data"} if name == "postgres" else set()
        mounted = {m["name"] for c in containers(template) for m in c["volumeMounts"]}
        assert mounted == volumes | claims, name


def test_probes_ask_for_paths_that_there_are():
    paths = set(json.loads((ROOT / "docs" / "openapi.json").read_text())["paths"])
    (container,) = pods("base")["filopodia-api"]["spec"]["containers"]
    (port,) = container["ports"]
    assert port["containerPort"] == ServiceSettings.model_fields["port"].default
    asked = {}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["port"] == port["name"]
        asked[probe] = container[probe]["httpGet"]["path"]
    assert set(asked.values()) <= paths
    assert asked["readinessProbe"] == "/readyz"
    assert asked["livenessProbe"] == "/livez", "a service that stops or loads is not dead"
    service = find("base", "Service", "filopodia")
    assert service["spec"]["ports"][0]["targetPort"] == port["name"]


def test_commands_and_scripts_are_there(folder):
    for name in OURS:
        for container in containers(pods(folder)[name]):
            program, command = container["args"]
            assert program == "filopodia"
            assert command in {name for commands in COMMANDS.values() for name, *_ in commands}
    (worker,) = pods(folder)["filopodia-worker"]["spec"]["containers"]
    for probe in ("startupProbe", "readinessProbe"):
        _, script = worker[probe]["exec"]["command"]
        assert (ROOT / "docker" / script.rpartition("/")[2]).is_file()
        assert f"COPY docker/*.py {script.rpartition('/')[0]}/" in DOCKERFILE
    assert "livenessProbe" not in worker, "it would end workers while the database is away"


def test_a_pod_that_stops_has_the_time_it_needs(folder):
    api = pods(folder)["filopodia-api"]["spec"]
    told = environment(folder, api["containers"][0])
    settings = ServiceSettings.read(
        drain_s=told["FILOPODIA_DRAIN_S"], graceful_stop_s=told["FILOPODIA_GRACEFUL_STOP_S"]
    )
    # Ten more, for what was answered and is not stored yet.
    needed_s = settings.drain_s + settings.graceful_stop_s + 10
    assert api["terminationGracePeriodSeconds"] >= needed_s
    readiness = api["containers"][0]["readinessProbe"]
    noticed_s = readiness["periodSeconds"] * readiness["failureThreshold"]
    assert settings.drain_s >= 2 * noticed_s, "nobody is sent to a service that is gone"
    worker = pods(folder)["filopodia-worker"]["spec"]
    grace_s = float(environment(folder, worker["containers"][0])["FILOPODIA_STOP_GRACE_S"])
    assert worker["terminationGracePeriodSeconds"] >= grace_s + 30


def test_what_is_scaled_is_there_and_says_no_number_itself(folder):
    scalers = [m for m in built(folder) if m["kind"] == "HorizontalPodAutoscaler"]
    assert len(scalers) == 2
    for scaler in scalers:
        target = find(folder, "Deployment", scaler["spec"]["scaleTargetRef"]["name"])
        assert "replicas" not in target["spec"]
        assert scaler["spec"]["minReplicas"] < scaler["spec"]["maxReplicas"]
        assert scaler["spec"]["behavior"]["scaleDown"]["stabilizationWindowSeconds"] >= 300


def test_workers_are_scaled_by_a_metric_that_there_is():
    (metric,) = find("base", "HorizontalPodAutoscaler", "filopodia-worker")["spec"]["metrics"]
    name = metric["external"]["metric"]["name"]
    assert f"\n{name} " in Metrics().exposition().decode()
    assert name in (ROOT / "docs" / "deployment.md").read_text()


def test_images_are_those_of_the_composition(folder):
    for name, template in pods(folder).items():
        service = name.removeprefix("filopodia-")
        expected = COMPOSE[service]["image"].replace("${FILOPODIA_IMAGE:-filopodia}", "filopodia")
        assert {container["image"] for container in containers(template)} == {expected}


def test_services_select_pods_and_nothing_of_others(folder):
    labels = {name: template["metadata"]["labels"] for name, template in pods(folder).items()}
    assert len({tuple(sorted(each.items())) for each in labels.values()}) == len(labels)
    for manifest in built(folder):
        for selector in selectors(manifest):
            assert selector["app.kubernetes.io/name"] == "filopodia", manifest["metadata"]
            if "app.kubernetes.io/component" in selector:
                assert selector in labels.values(), manifest["metadata"]


def test_database_and_broker_are_closed_to_others():
    for name in ("postgres", "redis"):
        (rule,) = find("overlays/everything", "NetworkPolicy", name)["spec"]["ingress"]
        (peer,) = rule["from"]
        assert peer["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "filopodia"}


def test_the_documented_commands_make_the_secrets_that_are_mounted(tmp_path):
    """Run as they stand, but that nothing is sent to a cluster."""
    document = (ROOT / "docs" / "deployment.md").read_text()
    chapter = document.partition("## Kubernetes")[2].partition("\n## ")[0]
    lines = re.findall(r"(?:^    [^\n]*\n)+", chapter, re.MULTILINE)
    (block,) = [block for block in lines if "kubectl create secret" in block]
    script = 'kubectl() { command kubectl "$@" --dry-run=client -o yaml; echo ---; }\n' + block
    ran = subprocess.run(
        ["bash", "-euc", script], check=True, capture_output=True, text=True, cwd=tmp_path
    )
    secrets = {
        made["metadata"]["name"]: made["data"] for made in yaml.safe_load_all(ran.stdout) if made
    }
    mounted: dict[str, set[str]] = {}
    for template in pods("overlays/everything").values():
        for volume in template["spec"]["volumes"]:
            if secret := volume.get("secret"):
                mounted.setdefault(secret["secretName"], set()).update(
                    item["key"] for item in secret.get("items", [])
                )
    assert {name: set(data) for name, data in secrets.items() if name in mounted} == {
        "filopodia-postgres": {"password"},
        "filopodia-redis": {"password", "users.acl"},
        "filopodia-service": {"admin.key", "session.secret"},
    }
    assert set(mounted) <= set(secrets)
