"""What a prediction over HTTP costs, and what of it no service could save: `python -m benchmarks.prediction_cost`.

For each size of image, in several rounds one after the other, on one machine with the clients:

    alone       clients that send one image a request and wait: processor time of the event loop, of the whole service
                and of the clients, for each request
    together    clients that send 32 images a request
    bare        what `together` cannot do without, in one process and without HTTP: the images are decoded by two
                threads and passed in batches of 32 by the same graph
    parts       processor time of each part on one thread: decoding, preparing, passing one of a batch, writing a PNG

Linux alone tells the processor time of a thread.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.files import write_rows
from benchmarks.serving.__main__ import SIZES, Target, ask, clients_process, ours, photo
from models.backbone import Backbone, load_backbone
from models.onnx_pass import OnnxPass
from service.intake.forms import ImageForm
from service.intake.images import ImageLimits, decode_image

BATCH = 32
ALONE, TOGETHER = 32, 4
"""Clients that send one image a request, and many."""
LIMITS = ImageLimits(max_bytes=10**8, max_pixels=10**8)
NS, TICKS = 1e9, os.sysconf("SC_CLK_TCK")


class Clock:
    """Processor time of a process, and of its first thread, which runs the event loop."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def read(self) -> tuple[float, float]:
        """Return seconds of the whole process and of its first thread."""
        fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        first = Path(f"/proc/{self._pid}/task/{self._pid}/schedstat").read_text().split()[0]
        return (int(fields[11]) + int(fields[12])) / TICKS, int(first) / NS


class Bare:
    """Images to features in this process, as fast as it goes."""

    def __init__(self, backbone: Backbone) -> None:
        self.backbone = backbone
        self.graph = OnnxPass(backbone)
        self.form = ImageForm.looked_at_by(backbone.preprocessing.resize_side)

    def prepare(self, image: bytes) -> torch.Tensor:
        """Return what the backbone sees of an image."""
        return self.backbone.preprocess(decode_image(image, LIMITS, self.form).pixels)

    def images_per_s(self, image: bytes, seconds: float) -> float:
        """Return how many images are decoded and passed a second, the next batch decoded beside a pass."""
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            waiting = [pool.submit(self.prepare, image) for _ in range(BATCH)]
            n, began = 0, time.perf_counter()
            while time.perf_counter() - began < seconds:
                images = torch.stack([one.result() for one in waiting])
                waiting = [pool.submit(self.prepare, image) for _ in range(BATCH)]
                self.graph(images, None)
                n += BATCH
            took = time.perf_counter() - began
        return n / took

    def parts_ms(self, image: bytes) -> dict[str, float]:
        """Return milliseconds of processor time that each part takes, medians."""
        decoded = decode_image(image, LIMITS, self.form)
        batch = torch.stack([self.prepare(image)] * BATCH)
        return {
            "decode_ms": _processor_ms(lambda: decode_image(image, LIMITS, self.form)),
            "prepare_ms": _processor_ms(lambda: self.backbone.preprocess(decoded.pixels)),
            "pass_ms": _processor_ms(lambda: self.graph(batch, None)) / BATCH,
            "write_ms": _processor_ms(decoded.to_png),
        }


def _processor_ms(work: Callable[[], object], times: int = 20) -> float:
    """Return the median of what one call takes, over all threads of this process."""
    taken = []
    for _ in range(times):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return 1000 * statistics.median(taken)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.prediction_cost",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--images", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--backbone", default="bundled")
    parser.add_argument("--weights", type=Path, help="of a backbone that is not bundled")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a row for each size, and write them."""
    given = parse(argv)
    rows: list[dict[str, Any]] = []
    bare = Bare(load_backbone(given.backbone, weights=given.weights))
    head = {
        "command": "python -m benchmarks.prediction_cost",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, service and clients on them",
        "backbone": given.backbone,
        "rounds": given.rounds,
        "seconds": given.seconds,
    }
    with ours(given.backbone, given.weights) as target, clients_process() as clients:
        for size in given.images:
            rounds = [
                _round(bare, target, clients, photo(*SIZES[size]), given.seconds)
                for _ in range(given.rounds)
            ]
            medians = {
                name: round(statistics.median(one[name] for one in rounds), 3) for name in rounds[0]
            }
            rows.append({"images": size, **medians})
            sys.stdout.write(json.dumps(rows[-1]) + "\n")
            sys.stdout.flush()
            if given.out is not None:
                write_rows(given.out, head, rows)
    return 0


def _round(
    bare: Bare, target: Target, clients: "subprocess.Popen[str]", image: bytes, seconds: float
) -> dict[str, float]:
    quiet = replace(target, path=f"{target.path}?store=false")
    many = replace(quiet, part="images", copies=BATCH)
    found: dict[str, float] = {}
    for name, asked in (("alone", target), ("not stored", quiet)):
        ask(clients, asked, image, n_clients=ALONE, seconds=1.0)
        service, senders = Clock(target.pid), Clock(clients.pid)
        before = service.read(), senders.read()
        seen = ask(clients, asked, image, n_clients=ALONE, seconds=seconds)
        after = service.read(), senders.read()
        n = seen["images_per_s"] * seconds / 1000
        found |= {
            f"{name} images_per_s": seen["images_per_s"],
            f"{name} loop_ms": (after[0][1] - before[0][1]) / n,
            f"{name} service_ms": (after[0][0] - before[0][0]) / n,
            f"{name} clients_ms": (after[1][0] - before[1][0]) / n,
        }
    ask(clients, many, image, n_clients=TOGETHER, seconds=1.0)
    seen = ask(clients, many, image, n_clients=TOGETHER, seconds=seconds)
    together = BATCH * seen["images_per_s"]
    alone = bare.images_per_s(image, seconds)
    found |= {"together images_per_s": together, "bare images_per_s": alone}
    return found | {"together / bare": together / alone} | bare.parts_ms(image)


if __name__ == "__main__":
    sys.exit(main())
