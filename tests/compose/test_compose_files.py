"""What the compose files promise, read from them without Docker; `make compose-test` runs them."""

import re
from pathlib import Path

import pytest
import yaml

from registry.settings import RegistrySettings
from service.settings import ServiceSettings
from worker.settings import ENVIRONMENT_NAMES, WorkerSettings

ROOT = Path(__file__).parent.parent.parent
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
GPU = yaml.safe_load((ROOT / "docker-compose.gpu.yml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()
HAPROXY = (ROOT / "docker" / "haproxy.cfg").read_text()
SERVICES = COMPOSE["services"]
ONE_SHOT = {"secrets", "migrate"}
LASTING = set(SERVICES) - ONE_SHOT
UID = 10001

UNDERSTOOD = {
    *("build", "cap_add", "cap_drop", "command", "cpu_shares", "depends_on", "deploy", "environment", "healthcheck"),
    *("image", "init", "logging", "mem_limit", "network_mode", "networks", "pids_limit", "ports", "read_only"),
    *("restart", "security_opt", "shm_size", "stop_grace_period", "stop_signal", "tmpfs", "user", "volumes"),
}  # fmt: skip
"""Keys of a service that docker-compose 1.29 and the plugin read alike."""


def test_docker_compose_1_and_2_know_every_key():
    own = {key for key in COMPOSE if not key.startswith("x-")}
    assert own == {"services", "networks", "volumes"}
    for service in [*SERVICES.values(), *GPU["services"].values()]:
        assert set(service) <= UNDERSTOOD


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_service_can_do_little(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["pids_limit"] > 0
    assert service["mem_limit"]
    assert all(re.search(r":size=\d+m", tmpfs) for tmpfs in service["tmpfs"])
    assert bool(service.get("cap_add")) == (name == "postgres")


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_service_sees_nothing_of_the_machine(name):
    for volume in SERVICES[name].get("volumes", []):
        source = volume["source"] if isinstance(volume, dict) else volume.partition(":")[0]
        is_ours = source.startswith("./docker/") and (ROOT / source).is_file()
        assert source in COMPOSE["volumes"] or (is_ours and volume.endswith(":ro"))


def test_learning_gets_the_processor_after_all_others():
    assert SERVICES["worker"]["cpu_shares"] < 1024  # what a service has that says nothing
    assert [name for name in SERVICES if "cpu_shares" in SERVICES[name]] == ["worker"]


@pytest.mark.parametrize("name", sorted(LASTING))
def test_a_lasting_service_is_watched_and_started_again(name):
    service = SERVICES[name]
    assert service["restart"] == "unless-stopped"
    assert {"test", "interval", "timeout", "start_period"} <= set(service["healthcheck"])
    assert int(service["stop_grace_period"].removesuffix("s")) >= 30


@pytest.mark.parametrize("name", sorted(ONE_SHOT))
def test_a_one_shot_service_runs_once(name):
    assert SERVICES[name]["restart"] == "no"


def test_only_the_service_is_published_and_only_on_this_machine():
    """And by one container, so that there may be several of the service."""
    assert {name for name, service in SERVICES.items() if "ports" in service} == {"proxy"}
    assert SERVICES["proxy"]["ports"] == ["${FILOPODIA_PUBLISH:-127.0.0.1:8000}:8000"]
    assert re.search(r"^    bind :8000$", HAPROXY, re.MULTILINE)


def test_any_service_may_be_there_several_times():
    assert not any(
        "container_name" in service or "hostname" in service for service in SERVICES.values()
    )
    assert "server-template api 1-20 api:8000 check" in HAPROXY
    told = SERVICES["api"]["environment"]["FILOPODIA_FORWARDED_ALLOW_IPS"]
    assert told.split(",")[0] == "proxy"
    assert ServiceSettings(forwarded_allow_ips=told.split(",")[0] + ",").forwarded_allow_ips == (
        "proxy",
    )


def test_the_proxy_reaches_the_service_and_nothing_behind_it():
    assert SERVICES["proxy"]["networks"] == ["outside"]
    assert "outside" in SERVICES["api"]["networks"]


def test_the_proxy_does_what_the_document_says_of_it():
    """Predictions alone are repeated once something may have been sent."""
    document = (
        (ROOT / "docs" / "deployment.md")
        .read_text()
        .partition("```haproxy\n")[2]
        .partition("```")[0]
    )
    rules = (
        "option httpchk",
        "http-reuse",
        "option redispatch",
        "option http-buffer-request",
        "retries",
    )
    rules = (*rules, "http-request disable-l7-retry", "retry-on")
    for rule in rules:
        (line,) = [line for line in document.splitlines() if line.strip().startswith(rule)]
        assert line.partition("  #")[0].rstrip() in HAPROXY.splitlines()


def test_the_proxy_logs_no_paths():
    """A login link is one."""
    (shown,) = re.findall(r'^    log-format "(.+)"$', HAPROXY, re.MULTILINE)
    assert set(re.findall(r"%(\w+)", shown)) == {"ci", "HM", "ST", "ts", "b", "s", "rc", "Ta"}


def test_the_proxy_waits_for_no_more_than_it_is_given():
    (hard_stop_s,) = map(int, re.findall(r"hard-stop-after (\d+)s", HAPROXY))
    assert hard_stop_s < int(SERVICES["proxy"]["stop_grace_period"].removesuffix("s"))


def test_database_and_broker_are_on_the_inner_network_only():
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    assert SERVICES["postgres"]["networks"] == SERVICES["redis"]["networks"] == ["inside"]


def test_no_password_stands_in_the_environment():
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            is_secret = re.search("PASSWORD|SECRET|KEY", name) is not None
            assert not is_secret or value is None or name.endswith("_FILE")
            assert "@" not in str(value) or re.search(r"//\w+@", str(value))


def test_each_server_sees_its_own_password_only():
    for name in ("postgres", "redis"):
        mounted = [v for v in SERVICES[name]["volumes"] if "secret" in str(v)]
        assert mounted == [f"{name}-secret:/secrets/{name}:ro"]


@pytest.mark.parametrize(
    ("service", "settings"), [("api", ServiceSettings), ("worker", WorkerSettings)]
)
def test_every_setting_reaches_its_process(service: str, settings: type[RegistrySettings]) -> None:
    fixed_elsewhere = {
        "FILOPODIA_PORT",  # the container's own; `ports` chooses the machine's
        "FILOPODIA_WORKER_ID",  # one name cannot be every replica's; the container's is unique
        "FILOPODIA_SLOTS",  # a Celery worker has one
        "FILOPODIA_POLL_S",  # of workers without a broker
    }
    names = {
        ENVIRONMENT_NAMES.get(name, f"FILOPODIA_{name.upper()}") for name in settings.model_fields
    }
    assert names - fixed_elsewhere == {
        name for name in SERVICES[service]["environment"] if name in names
    }


def test_the_gpu_file_adds_a_gpu_and_nothing_else():
    (device,) = GPU["services"]["worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}
    assert set(GPU["services"]) == {"worker"}
    assert set(GPU["services"]["worker"]) == {"environment", "deploy"}


def test_the_image_runs_as_the_user_that_owns_its_volumes():
    last_stage = DOCKERFILE.rpartition("\nFROM ")[2]
    assert f"USER {UID}:{UID}" in last_stage
    assert SERVICES["redis"]["user"] == f"{UID}:{UID}"
    (owned,) = re.findall(r"install --directory --owner (\d+) --group \1 [^/]*([^\n]+)", last_stage)
    assert owned[0] == str(UID)
    mounted = {
        volume.split(":")[1]
        for name, service in SERVICES.items()
        if service["image"] == SERVICES["api"]["image"]
        for volume in service.get("volumes", [])
    }
    assert mounted == set(owned[1].split())


def test_the_image_is_built_from_what_it_runs_and_nothing_else():
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] != "#"]
    assert lines[0] == "*"
    allowed = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert allowed.isdisjoint({"tests", ".git", ".env", "docs"})
    assert {"benchmarks/results", "benchmarks/*.md"} <= set(lines)
    assert all((ROOT / name).exists() for name in allowed)
