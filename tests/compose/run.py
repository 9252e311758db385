"""`make compose-test`: the compose file run for real, from nothing to the same answers after a restart.

Under a project name and a port of its own, which it removes at the end, so it disturbs nothing else on the machine.
Needs Docker, and takes minutes: the image is built first. `COMPOSE` names the command, such as `docker-compose`;
`--no-build` takes the image that `FILOPODIA_IMAGE` names as it is.
"""

import os
import shlex
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from service.cli.local.demo_process import free_port
from service.cli.output import make_console
from service.client import ENDED, ClientError, Filopodia, LabelledImage, Retries, TaskOptions
from tests.compose.composition import LASTING, Composition, output
from tests.factories import make_image

USER = "10001"
N_TRAIN, N_EVAL = 20, 5
CLASSES = (("heron", "egret"), ("stork", "crane"), ("ibis", "spoonbill"), ("gull", "tern"))
TRAINS = "artsy_gaussian"
"""It trains within its tasks, which can be interrupted there."""
LONG = {"epochs": 60}
"""Half a minute on a slow machine: long enough to be killed in the middle."""
TRAINING_S = 120.0
N_ASKERS = 4
"""Clients that predict while services are stopped and started."""
GRACE_S = {"worker": 45, "api": 30, "proxy": 30, "redis": 30, "postgres": 60}

console = make_console()


def main() -> None:
    """Run everything, and remove it again whatever happens."""
    composition = Composition(_compose_command(), free_port())
    try:
        if "--no-build" not in sys.argv[1:]:
            with _step("the image is built"):
                composition.run("build")
        with _step("nothing but the code is in the image"):
            check_image(composition)
        with _step("all services become healthy"):
            composition.up()
        with _step("containers can do little"):
            check_containers(composition)
        before = learn_through_a_kill(composition)
        with _step("of two services each is stopped and started, and no prediction fails"):
            check_two_services(composition)
        with _step("passwords and keys are nowhere to be read"):
            check_secrets(composition)
        with _step("services stop in time, the worker while it learns a fourth task"):
            fourth = check_stops(composition)
        with _step("after down and up the answers are the same"):
            composition.run("down")
            composition.up()
            with composition.client() as client:
                assert answers(client, version=3) == before
        with _step("the fourth task has ended"), composition.client() as client:
            task = client.follow_task(fourth)
            assert (task["status"], task["version"]) == ("succeeded", 4), task
        console.print("The composition keeps what it promises.", style="green")
    except subprocess.CalledProcessError as error:
        console.print(f"{shlex.join(error.cmd)}\n{error.stdout}{error.stderr}", style="red")
        raise
    finally:
        composition.run("down", "--volumes", "--remove-orphans")


def check_image(composition: Composition) -> None:
    """Nothing of the tree but the code, and no root."""
    names = (
        "-name .git -o -name .env -o -path '*/benchmarks/results' -o -path '*/site-packages/tests'"
    )
    script = f"id -u; find / -xdev \\( {names} \\) -print 2>/dev/null"
    found = output(
        "docker", "run", "--rm", "--network", "none", composition.image, "sh", "-c", f"{script}; :"
    )
    assert found.split() == [USER], found


def check_containers(composition: Composition) -> None:
    """No root, nothing to write but volumes, no capabilities, no port but the service's."""
    for service in LASTING:
        described = composition.inspect(service)
        assert described["HostConfig"]["ReadonlyRootfs"], service
        assert (
            composition.inside(service, "touch /written 2>/dev/null || echo refused") == "refused\n"
        )

        users = set(composition.processes(service, "uid"))
        assert "0" not in users, (service, users)
        assert service == "postgres" or users == {USER}, (service, users)

        status = composition.inside(service, "cat /proc/1/status")
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert int(fields["CapEff"], 16) == 0, (service, fields["CapEff"])
        assert fields["NoNewPrivs"] == "1", service

        ports = {port: to for port, to in described["NetworkSettings"]["Ports"].items() if to}
        assert set(ports) == ({"8000/tcp"} if service == "proxy" else set()), (service, ports)
        assert all(to["HostIp"] == "127.0.0.1" for bound in ports.values() for to in bound)


def learn_through_a_kill(composition: Composition) -> list[Any]:
    """Learn three tasks, the last with a worker that is killed in the middle; return the answers after it."""
    with composition.client() as client:
        client.create_learner("birds", strategy=TRAINS)
        for labels in CLASSES[:2]:
            with _step(f"it learns {' and '.join(labels)}"):
                task = client.follow_task(client.learn_images("birds", images(*labels))["id"])
                assert task["status"] == "succeeded", task
        with _step("it knows them"):
            answers(client, version=2)
        with _step("it learns a third task although the worker is killed in the middle"):
            task_id = _start_training(client, *CLASSES[2])
            worker = composition.container("worker")
            output("docker", "kill", worker)
            assert client.task(task_id)["status"] not in ENDED
            answers(client, version=2)
            # What is killed by hand stays down: the restart policy is for what dies by itself.
            output("docker", "start", worker)
            task = client.follow_task(task_id)
            assert (task["status"], task["version"], task["attempt"]) == ("succeeded", 3, 2), task
        return answers(client, version=3)


def check_two_services(composition: Composition) -> None:
    """Behind the proxy of the composition nobody notices that one of two services stops, and comes back."""
    composition.up(services=2)
    containers = composition.containers("api")
    assert len(containers) == 2, containers
    outcomes: Counter[str] = Counter()
    stopping = threading.Event()
    unseen = [("heron.png", make_image("heron", 1000))]

    def ask_on() -> None:
        # Nobody repeats for the proxy.
        with composition.client(Retries(most=0)) as client:
            while not stopping.is_set():
                try:
                    version = client.predict("birds", unseen)["version"]
                    outcomes[f"version {version}"] += 1
                except ClientError as error:
                    outcomes[str(error)] += 1

    askers = [threading.Thread(target=ask_on) for _ in range(N_ASKERS)]
    for asker in askers:
        asker.start()
    try:
        for container in containers:
            output("docker", "stop", "--time", "40", container)
            output("docker", "start", container)
            composition.up(services=2)
    finally:
        stopping.set()
        for asker in askers:
            asker.join()
    assert set(outcomes) == {"version 3"}, outcomes
    console.print(f"           {outcomes.total()} predictions")
    # A key that one has made is right at the other at once.
    with composition.client() as client:
        for number in range(4):
            key = client.create_key(f"camera {number}", "reader")["key"]
            with Filopodia(composition.url, key) as camera:
                assert [learner["name"] for learner in camera.learners()] == ["birds"]
    composition.up()
    assert len(composition.containers("api")) == 1


def check_secrets(composition: Composition) -> None:
    """No password or key in what Docker shows, in logs, or in the environment and arguments of processes."""
    files = (
        "/secrets/postgres/password /secrets/redis/password /data/admin.key /data/session.secret"
    )
    secrets = [composition.inside("api", f"cat {file}").strip() for file in files.split()]
    assert all(len(secret) >= 30 for secret in secrets)
    modes = composition.inside("api", f"stat --format '%a %u' {files}")
    assert set(modes.splitlines()) == {f"600 {USER}"}, modes
    shown = [
        output("docker", "history", "--no-trunc", composition.image),
        output("docker", "image", "inspect", composition.image),
        composition.run("logs"),
        composition.run("config"),
    ]
    for service in LASTING:
        shown.append(str(composition.inspect(service)))
        shown.append("\n".join(composition.processes(service, "args")))
        shown.append(
            composition.inside(service, "cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'")
        )
    for secret in secrets:
        for text in shown:
            assert secret not in text, f"a secret is shown: ...{text.partition(secret)[0][-80:]}"


def check_stops(composition: Composition) -> str:
    """Every service ends by itself before it would be killed. Returns the id of the task that was being learned."""
    with composition.client() as client:
        task_id = _start_training(client, *CLASSES[3])
    for service, grace_s in GRACE_S.items():
        began = time.monotonic()
        composition.run("stop", service)
        took_s = time.monotonic() - began
        state = composition.inspect(service)["State"]
        assert state["ExitCode"] != 137, (service, state)
        assert took_s < grace_s, (service, took_s)
        console.print(f"           {service} {took_s:.1f} s, exit code {state['ExitCode']}")
    return task_id


def images(*labels: str) -> list[LabelledImage]:
    """Return training and evaluation images of some classes."""
    return [
        LabelledImage(make_image(label, i), label, "train" if i < N_TRAIN else "eval")
        for label in labels
        for i in range(N_TRAIN + N_EVAL)
    ]


def answers(client: Filopodia, *, version: int) -> list[Any]:
    """Return all about the answers for one unseen image of each class learned by a version: they must be right."""
    labels = [label for task in CLASSES[:version] for label in task]
    unseen = [(f"{label}.png", make_image(label, 1000)) for label in labels]
    prediction = client.predict("birds", unseen, top_k=10, version=version)
    assert prediction["version"] == version
    assert [result["label"] for result in prediction["results"]] == labels
    return list(prediction["results"])


def _start_training(client: Filopodia, *labels: str) -> str:
    """Post a long task and wait until a worker is in the middle of it; return its id."""
    task_id = client.learn_images("birds", images(*labels), TaskOptions(config=LONG))["id"]
    deadline = time.monotonic() + TRAINING_S
    while (task := client.task(task_id))["progress"]["phase"] != "training":
        assert task["status"] not in ENDED, task
        assert time.monotonic() < deadline, task
        time.sleep(0.2)
    return task_id


@contextmanager
def _step(what: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    console.print(f"{time.monotonic() - began:7.1f} s  {what}")


def _compose_command() -> list[str]:
    if given := os.environ.get("COMPOSE"):
        return shlex.split(given)
    has_plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    return ["docker", "compose"] if has_plugin.returncode == 0 else ["docker-compose"]


if __name__ == "__main__":
    main()
