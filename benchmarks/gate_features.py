"""Which features tell tasks apart, and so make good gates (Fig. 4 of the Artsy paper).

    python -m benchmarks.gate_features --data CIFAR100 --weights VIT_TINY.safetensors --image-size 112 --tasks 5

The paper names no layers. *Good* here: the final, normed feature h_0 of the frozen backbone, which Artsy's synapses
read. *Bad*: the class token after an early block, as it is (a backbone without one: the mean of its patches). A linear
gate, Fisher's discriminant with its covariance shrunk (Ledoit and Wolf), is fitted to the tasks' train features. Its
accuracy on test images is the number; its two strongest directions are the picture, so both show the same gate.

Shapes: N images, D width of the features, T tasks.

Reference:
    Ran et al., 2024, https://arxiv.org/abs/2410.05899.
"""

import argparse
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from benchmarks.class_incremental import Increment, Protocol, make_stream
from benchmarks.datasets import read_split
from models.backbone import Backbone, choose_device, load_backbone


def embed_twice(backbone: Backbone, images: Tensor, block: int) -> tuple[Tensor, Tensor]:
    """Embed images, and take what the same pass holds after an early block.

    Args:
        backbone: The frozen backbone.
        images: uint8 `(N, 3, S, S)`.
        block: Number of the early block, from 1.

    Returns:
        Final features and pooled features after that block, `(N, D)` each.
    """
    if not 1 <= block < backbone.depth:
        raise ValueError(f"The early block must be one of 1 to {backbone.depth - 1}.")
    vit, taken = backbone.vit, []

    def take(module: nn.Module, inputs: tuple[Tensor]) -> None:
        taken.append(vit.pool(inputs[0]))

    # A backbone runs the parts of its blocks by itself: what enters the next block's first norm is what left this one.
    hook = cast("Block", vit.blocks[block]).norm1.register_forward_pre_hook(take)
    try:
        final = backbone.embed(images)
    finally:
        hook.remove()
    return final, torch.cat(taken)


def fit_gate(
    train: NDArray[np.float32],
    tasks: NDArray[np.int64],
    test: NDArray[np.float32],
    truth: NDArray[np.int64],
) -> tuple[float, NDArray[np.float64]]:
    """Tell tasks apart by a linear gate.

    Returns:
        Accuracy on the test features, and where these lie along the gate's two strongest directions, `(N, 2)`.
    """
    gate = LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto")
    gate.fit(train, tasks)
    return float(gate.score(test, truth)), gate.transform(test)[:, :2]


def measure(
    backbone: Backbone, stream: Sequence[Increment], *, block: int, n_points: int, seed: int
) -> dict[str, Any]:
    """Fit a gate to good and to bad features, on the same images.

    Returns:
        For both, the accuracy and `n_points` test images as `[x, y, task]`.
    """
    known = [embed_twice(backbone, part.task.images, block) for part in stream]
    asked = [embed_twice(backbone, part.test_images, block) for part in stream]
    tasks, truth = (
        np.repeat(np.arange(1, len(stream) + 1), [len(final) for final, _ in parts])
        for parts in (known, asked)
    )
    shown = np.sort(np.random.default_rng(seed).permutation(len(truth))[:n_points])
    result = {}
    for i, name in enumerate(("good", "bad")):
        train, test = (torch.cat([pair[i] for pair in pairs]).cpu() for pairs in (known, asked))
        accuracy, places = fit_gate(train.numpy(), tasks, test.numpy(), truth)
        points = [
            [*map(float, place.round(2)), int(task)]
            for place, task in zip(places[shown], truth[shown], strict=True)
        ]
        result[name] = {"accuracy": accuracy, "points": points}
    return result


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description="Show which features tell tasks apart.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True, help="see benchmarks.datasets")
    parser.add_argument("--backbone", default="vit_tiny_patch16_224.augreg_in21k_ft_in1k")
    parser.add_argument("--weights", type=Path, help="safetensors file of the backbone")
    parser.add_argument("--image-size", type=int, help="pixels; the backbone's own unless set")
    parser.add_argument("--tasks", type=int, default=5, help="three at least")
    parser.add_argument("--train-per-class", type=int, default=20)
    parser.add_argument("--test-per-class", type=int, default=10)
    parser.add_argument("--block", type=int, default=2, help="the early block, from 1")
    parser.add_argument("--points", type=int, default=400, help="test images in the picture")
    parser.add_argument("--seed", type=int, default=1993, help="order of the classes")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, help="write the values here as JSON")
    arguments = parser.parse_args(argv)
    if arguments.tasks < 3:
        parser.error("two directions need three tasks at least")
    return arguments


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    arguments = parse_arguments(argv)
    torch.set_num_threads(arguments.threads)
    backbone = load_backbone(
        arguments.backbone, weights=arguments.weights, image_size=arguments.image_size
    ).to(choose_device(arguments.device))
    protocol = Protocol(
        data=arguments.data.name,
        backbone=backbone.name,
        image_size=backbone.image_size,
        base_classes=0,
        tasks=arguments.tasks,
        train_per_class=arguments.train_per_class,
        test_per_class=arguments.test_per_class,
        held_out_per_class=0,
    )
    train = read_split(arguments.data, "train", per_class=arguments.train_per_class)
    test = read_split(arguments.data, "test", per_class=arguments.test_per_class)
    stream = make_stream(backbone, train, test, protocol, arguments.seed)
    features = measure(
        backbone, stream, block=arguments.block, n_points=arguments.points, seed=arguments.seed
    )
    console = Console()
    for name, scores in features.items():
        console.print(f"{name} features: {scores['accuracy']:.1%} of the tasks told right")
    if arguments.out is not None:
        result = {
            "command": "python -m benchmarks.gate_features",
            "machine": f"{platform.machine()}, {arguments.threads} threads",
            "protocol": asdict(protocol),
            "block": arguments.block,
            "seed": arguments.seed,
            "n_test": len(test),
            "features": features,
        }
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
