"""How soon what is learned is answered: every part measured once with a real service, and what it says."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.bad_input.service import Service
from benchmarks.learning_speed import __main__ as command
from benchmarks.learning_speed.__main__ import PARTS, PATIENCE_S, given_of, main, parse
from benchmarks.learning_speed.given import JSON, Given
from benchmarks.learning_speed.pictures import make_classes, pixels_of
from benchmarks.learning_speed.plain import tensors, train
from benchmarks.learning_speed.processes import below, costs, used
from benchmarks.learning_speed.teaching import CONSOLIDATES
from benchmarks.sections.learning import LINES, learning_speed
from models.backbone import load_backbone

SMALL = ["--backbone", "tiny", "--few", "2", "8", "--many", "2", "12", "--repeats", "1"]
SMALL += [
    "--batch-repeats",
    "1",
    "--tasks",
    "3",
    "--rounds",
    "1",
    "--seconds",
    "3",
    "--epochs",
    "1",
]


@pytest.fixture
def speed(tmp_path: Path) -> Callable[..., JSON]:
    """Returns a function that runs the command and returns what it wrote."""
    out = tmp_path / "speed.json"

    def run(*parts: str) -> JSON:
        assert main([*SMALL, "--parts", *parts, "--out", str(out)]) == 0
        report: JSON = json.loads(out.read_text())
        return report

    return run


@pytest.fixture
def one_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """All parts are measured with one service: each would wait for a new one to import PyTorch."""
    given = given_of(parse(SMALL))
    folder = tmp_path / "service"
    folder.mkdir()
    with Service(folder, backbone=given.backbone, settings=given.settings) as service:
        service.client.timeout = httpx.Timeout(PATIENCE_S)

        def measure(part: Callable[[Service, Given], JSON], given: Given) -> JSON:
            measured = part(service, given)
            for learner in service.client.get("/v1/learners").json()["items"]:
                service.client.delete(f"/v1/learners/{learner['name']}").raise_for_status()
            return measured

        monkeypatch.setattr(command, "measure", measure)
        yield


@pytest.mark.slow
def test_a_part_is_measured_with_a_service_of_its_own(speed: Callable[..., JSON]) -> None:
    [(name, idle)] = speed("idle")["parts"].items()
    assert name == "idle"
    assert any(cost["name"].startswith("worker.") for cost in idle["others"])


@pytest.mark.slow
@pytest.mark.usefixtures("one_service")
def test_all_parts_are_measured_and_told(speed: Callable[..., JSON]) -> None:
    idle = speed("idle")["parts"]["idle"]
    report = speed(*(name for name in PARTS if name != "idle"))
    parts = report["parts"]
    assert set(parts) == set(PARTS) == set(LINES)
    first = parts["first_answers"]
    assert len(first["rows"]) == 2
    assert all(0 < row["uploaded_s"] < row["answered_s"] for row in first["rows"])
    assert first["p50_s"] == first["p95_s"]
    batch = parts["batches"]
    [row] = batch["rows"]
    assert batch["passes"] == pytest.approx(row["answered_s"] / row["pass_s"], rel=0.01)
    grown = parts["growth"]
    assert len(grown["answered_s"]) == len(grown["rss_mib"]) == 3
    # What was measured before stays.
    assert parts["idle"] == idle
    asked = parts["predictions"]
    assert asked["quiet"]["p99_ratio"] == 1.0
    assert ("consolidating" in asked) == CONSOLIDATES
    assert asked["learning"]["n_failed"] == 0 < asked["learning"]["n"]
    [row] = parts["consolidation"]["rows"]
    assert row["plain"]["training_s"] > 0
    assert ("status" in row) == CONSOLIDATES
    assert ("put_down" in parts["consolidation"]) == CONSOLIDATES
    written = "\n".join(learning_speed("speed", report).text)
    assert f"{first['p50_s']:.2f} / {first['p95_s']:.2f} s" in written


def test_classes_are_the_same_each_time_and_never_asked_about_what_was_taught() -> None:
    first, again = (make_classes(3, 4, asked=2) for _ in range(2))

    assert first == again
    assert len({taught.label for taught in first}) == 3
    assert [(len(taught.images), len(taught.asked)) for taught in first] == [(4, 2)] * 3
    assert not {image for t in first for image in t.images} & {i for t in first for i in t.asked}
    assert pixels_of(first[0].images[0]).shape == (64, 64, 3)


def test_after_all_classes_of_a_data_set_come_other_images_of_them(tmp_path: Path) -> None:
    for k in range(100):
        folder = tmp_path / "train" / f"class-{k:02}"
        folder.mkdir(parents=True)
        for i in range(4):
            Image.fromarray(np.full((8, 8, 3), 2 * k + i % 2 + 20 * (i > 1), np.uint8)).save(
                folder / f"{i}.png"
            )

    classes = make_classes(101, 1, cifar100=tmp_path)

    assert [classes[0].label, classes[-1].label] == ["class-00", "class-00 2"]
    assert pixels_of(classes[0].images[0])[0, 0, 0] == 0
    assert pixels_of(classes[-1].images[0])[0, 0, 0] == 20
    with pytest.raises(ValueError, match="too few"):
        make_classes(201, 1, cifar100=tmp_path)


def test_the_plain_loop_learns() -> None:
    backbone = load_backbone("tiny")
    classes = make_classes(2, 20)
    images, targets = tensors(backbone, classes)
    assert len(images) == 36  # a tenth is kept out, as the service does

    before = backbone.embed(images)
    adapter = train(backbone, images, targets, 2)

    assert not torch.equal(before, backbone.embed(images, adapter))
    assert not any(parameter.requires_grad for parameter in adapter.parameters())


def test_what_runs_below_a_process_is_found_with_what_it_takes() -> None:
    work = "import sys; print(sum(range(20_000_000)), flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", work], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        names = below(os.getpid())
        assert child.pid in names
        [cost] = costs({}, {child.pid: names[child.pid]})
        assert cost.cpu_s > 0.1
        assert cost.rss_mib > 1
        [later] = costs(used(names), {child.pid: names[child.pid]})
        assert later.cpu_s < cost.cpu_s
        child.communicate()
    assert costs({}, {child.pid: "gone"}) == []
