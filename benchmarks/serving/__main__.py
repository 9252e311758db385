"""How fast predictions are answered, beside LitServe: `python -m benchmarks.serving --out FILE`.

Each server runs in a process of its own, and all stay up. They are asked in turn, cell after cell, in several rounds:
one image a request, JPEGs of 64 x 64, 1000 x 750 and 4000 x 3000 pixels, by clients that wait for their answers.

    ours        the default settings: every image is stored
    no store    the same, asked with `store=false`
    pytorch     the default without ONNX Runtime
    litserve    the same backbone served by LitServe (the extra `litserve`), which stores nothing

Timings are of this machine, everything on it: take the ratios, which are of one round each, and their median.
"""

import argparse
import io
import json
import os
import platform
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.bad_input.service import Service
from benchmarks.files import write_rows
from benchmarks.learning_speed.pictures import make_classes
from benchmarks.learning_speed.teaching import Teacher
from benchmarks.waiting import wait_until
from service.cli.local.demo_process import free_port

SIZES = {"64 px": (64, 64), "1000 x 750": (1000, 750), "12 megapixels": (4000, 3000)}
SERVERS = ("ours", "no store", "pytorch", "litserve")
BOUNDARY = "filopodia"
LEARNER = "asked"
CLASSES, TASKS, IMAGES = 10, 5, 20
"""Invented characters that the learner knows: classes, tasks, and images of each class."""
QUIET = {"FILOPODIA_CONSOLIDATE": "never"}
"""Nothing is trained meanwhile."""


@dataclass(frozen=True)
class Target:
    """Where a server is asked, and how."""

    port: int
    path: str
    headers: dict[str, str]
    part: str | None = None
    """Name of an image in a form; None sends it alone."""
    copies: int = 1
    """How often it is in the form."""
    pid: int = 0
    """Of the process that runs the event loop, where that is known."""

    def request(self, image: bytes) -> dict[str, Any]:
        """Return what the clients have to be told about one image."""
        body = image if self.part is None else _form(image, self.part, self.copies)
        kind = "image/jpeg" if self.part is None else f"multipart/form-data; boundary={BOUNDARY}"
        return {
            "port": self.port,
            "path": self.path,
            "headers": {**self.headers, "Content-Type": kind},
            "body": b64encode(body).decode(),
        }


def photo(width: int, height: int) -> bytes:
    """Draw a JPEG with about as much in it as a photo has."""
    generator = np.random.default_rng(0)
    pixels = np.zeros((height, width, 3), dtype=np.float32)
    for cells in (4, 16, 64, 256):
        noise = generator.uniform(0, 255, (max(2, cells * 3 // 4), cells, 3)).astype(np.uint8)
        layer = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
        pixels += np.asarray(layer, dtype=np.float32) / 4
    file = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=88)
    return file.getvalue()


def _form(image: bytes, part: str, copies: int) -> bytes:
    disposition = f'Content-Disposition: form-data; name="{part}"; filename="image.jpg"'
    head = f"--{BOUNDARY}\r\n{disposition}\r\nContent-Type: image/jpeg\r\n\r\n"
    return copies * (head.encode() + image + b"\r\n") + f"--{BOUNDARY}--\r\n".encode()


@contextmanager
def ours(backbone: str, weights: Path | None, **settings: str) -> Iterator[Target]:
    """Run the service with a learner of a few classes."""
    chosen = QUIET | {f"FILOPODIA_{name}": value for name, value in settings.items()}
    if weights is not None:
        chosen["FILOPODIA_BACKBONE_WEIGHTS"] = str(weights)
    with (
        tempfile.TemporaryDirectory(prefix="filopodia-serving-") as folder,
        Service(Path(folder), backbone=backbone, settings=chosen) as service,
    ):
        teacher, classes = Teacher(service.client), make_classes(CLASSES, IMAGES)
        teacher.create(LEARNER, backbone)
        for task in range(TASKS):
            teacher.teach(LEARNER, classes[task::TASKS])
        headers = {"Authorization": f"Bearer {service.key}"}
        path = f"/v1/learners/{LEARNER}/predictions"
        yield Target(int(service.address[1]), path, headers, pid=service.process.pid)


@contextmanager
def litserve(backbone: str, weights: Path | None) -> Iterator[Target]:
    """Run LitServe."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.serving.litserve_app", str(port)]
    command += ["--backbone", backbone, *(["--weights", str(weights)] if weights else [])]
    process = subprocess.Popen(command, start_new_session=True)
    try:
        wait_until(lambda: _answers(port) or process.poll() is not None)
        if process.poll() is not None:
            raise RuntimeError("LitServe did not start.")
        yield Target(port, "/predict", {}, part="image")
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--servers", nargs="+", choices=SERVERS, default=list(SERVERS))
    parser.add_argument("--images", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each cell")
    parser.add_argument("--backbone", default="bundled")
    parser.add_argument("--weights", type=Path, help="of a backbone that is not bundled")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Measure, print each cell, and write all of them."""
    given = parse(argv)
    if "litserve" in given.servers and find_spec("litserve") is None:
        given.servers.remove("litserve")
        sys.stdout.write("LitServe is not installed, and is left out.\n")
    rows: list[dict[str, Any]] = []
    with ExitStack() as stack:
        targets = _started(stack, given)
        clients = stack.enter_context(clients_process())
        cells = list(product(given.images, given.clients))
        for size, n in cells:
            for target in targets.values():  # each has loaded everything once
                ask(clients, target, photo(*SIZES[size]), n_clients=n, seconds=1.0)
            rounds: dict[str, list[dict[str, float]]] = {name: [] for name in targets}
            for _ in range(given.rounds):
                for name, target in targets.items():
                    asked = {"n_clients": n, "seconds": given.seconds}
                    rounds[name].append(ask(clients, target, photo(*SIZES[size]), **asked))
            rows.append({"images": size, "clients": n, **_cell(rounds)})
            sys.stdout.write(json.dumps(rows[-1]) + "\n")
            sys.stdout.flush()
            if given.out is not None:
                write_rows(given.out, _head(given), rows)
    return 0


def _head(given: argparse.Namespace) -> dict[str, Any]:
    return {
        "command": "python -m benchmarks.serving",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, servers and clients on them",
        "backbone": given.backbone,
        "rounds": given.rounds,
        "seconds": given.seconds,
    }


def _started(stack: ExitStack, given: argparse.Namespace) -> dict[str, Target]:
    """Start what is asked for; what is stored or not is a question to the same service."""
    found: dict[str, Target] = {}
    if {"ours", "no store"} & set(given.servers):
        target = stack.enter_context(ours(given.backbone, given.weights))
        found |= {"ours": target, "no store": replace(target, path=f"{target.path}?store=false")}
    if "pytorch" in given.servers:
        without = ours(given.backbone, given.weights, ONNX_RUNTIME="false")
        found["pytorch"] = stack.enter_context(without)
    if "litserve" in given.servers:
        found["litserve"] = stack.enter_context(litserve(given.backbone, given.weights))
    return {name: target for name, target in found.items() if name in given.servers}


@contextmanager
def clients_process() -> Iterator[subprocess.Popen[str]]:
    """Start the clients."""
    command = [sys.executable, "-m", "benchmarks.serving.clients"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def ask(
    clients: subprocess.Popen[str], target: Target, image: bytes, **asked: float
) -> dict[str, float]:
    """Let the clients send an image again and again, and return what they saw: see `benchmarks.serving.clients.ask`."""
    assert clients.stdin is not None
    assert clients.stdout is not None
    clients.stdin.write(json.dumps(target.request(image) | asked) + "\n")
    clients.stdin.flush()
    seen: dict[str, float] = json.loads(clients.stdout.readline())
    return seen


def _cell(rounds: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Return the medians of each server, and those of the ratios of rounds next to each other."""
    cell: dict[str, Any] = {
        name: {key: statistics.median(one[key] for one in seen) for key in seen[0]}
        for name, seen in rounds.items()
    }
    for other in {"litserve", "pytorch"} & set(rounds):
        for name in {"ours", "no store"} & set(rounds):
            pairs = zip(rounds[name], rounds[other], strict=True)
            ratios = [a["images_per_s"] / max(b["images_per_s"], 1e-9) for a, b in pairs]
            cell[f"{name} / {other}"] = round(statistics.median(ratios), 2)
    return cell


if __name__ == "__main__":
    sys.exit(main())
