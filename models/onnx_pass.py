"""The pass of a backbone as one ONNX graph, run by ONNX Runtime: on a CPU sooner than PyTorch, step by step.

A sub-network is an input of the graph. So there is one graph for all versions of all learners on a backbone: a version
takes over without anything to compile, and no weight of the backbone lies in memory once a version. While the graph
runs nothing of Python does, so other threads of the process do not wait for each step of it, nor it for them.

Shapes: B images, S input side, G sub-networks (one, or as many as images), P bottleneck width, D feature width.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.adapter import SCALE, Adapter, Bottleneck
from models.backbone import Backbone
from models.errors import BackboneError, ExportError
from models.onnx_graphs import open_graph, require_packages, write_graph

CLOSE = 1e-3
"""How far features may lie from PyTorch's, of the largest of them."""
CHECKED = 3
"""Images that are asked of both."""
_PARTS = ("down.weight", "down.bias", "up.weight", "up.bias")
"""Of a bottleneck, as `Adapter` names them."""
_IMAGES, _FEATURES = "images", "features"


class OnnxPass:
    """Runs complete passes of one backbone. From any thread."""

    def __init__(self, backbone: Backbone) -> None:
        """Build the graph, and see that it does what PyTorch does.

        Args:
            backbone: On the CPU.

        Raises:
            BackboneError: If its packages are not there, or the graph cannot be built, or answers otherwise.
        """
        try:
            require_packages()
        except ExportError as error:
            raise BackboneError(str(error)) from error
        self._width, self._depth = backbone.feature_width, backbone.depth
        try:
            with TemporaryDirectory(prefix="filopodia-graph-") as folder:
                file = Path(folder) / "pass.onnx"
                _export(backbone, self._inputs([_example(backbone, first=0)] * 2), file)
                self._session = open_graph(file)
            self._check(backbone)
        except BackboneError:
            raise
        except Exception as error:  # of the exporter, or of the runtime: each has many of its own
            raise BackboneError(f"Backbone {backbone.name} cannot be run as one graph.") from error

    def __call__(self, images: Tensor, *adapters: Adapter | None) -> Tensor:
        """Return what `Backbone.forward` returns with `token_and_patches`.

        Args:
            images: uint8 `(B, 3, S, S)`.
            *adapters: The sub-network of all images, or one for each of them; None is none.
        """
        given = {_IMAGES: images} | self._inputs(adapters)
        columns = {name: tensor.numpy() for name, tensor in given.items()}
        (features,) = self._session.run([_FEATURES], columns)
        return torch.from_numpy(features)

    def _inputs(self, adapters: Sequence[Adapter | None]) -> dict[str, Tensor]:
        """Return the weights of a bottleneck in every block for each sub-network; of no width where none has one."""
        given: dict[str, Tensor] = {}
        for block in range(self._depth):
            bottlenecks = [adapter.at(block) if adapter else None for adapter in adapters]
            P = max(len(bottleneck.down.bias) if bottleneck else 0 for bottleneck in bottlenecks)
            parts = zip(*(_weights(one, self._width, P) for one in bottlenecks), strict=True)
            given |= {
                f"{block}.{name}": torch.stack(part) if len(part) > 1 else part[0][None]
                for name, part in zip(_PARTS, parts, strict=True)
            }
        return given

    def _check(self, backbone: Backbone) -> None:
        """Ask both about the same images, without and with a sub-network in the last block.

        Raises:
            BackboneError: If they do not agree.
        """
        generator = torch.Generator().manual_seed(0)
        shape = (CHECKED, 3, backbone.image_size, backbone.image_size)
        images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
        adapter = _example(backbone, first=backbone.depth - 1)
        for parameter in adapter.parameters():
            nn.init.normal_(parameter, std=0.1, generator=generator)
        for asked in (None, adapter):
            with torch.inference_mode():
                expected = backbone(images, asked, pooling="token_and_patches")
            gap = (self(images, asked) - expected).abs().max() / expected.abs().max()
            if not gap <= CLOSE:
                raise BackboneError(f"Backbone {backbone.name} answers otherwise as one graph.")


def _weights(bottleneck: Bottleneck | None, width: int, P: int) -> tuple[Tensor, ...]:
    """Return the tensors of `_PARTS`, as wide as asked: what has no weights adds nothing."""
    if bottleneck is None:
        return torch.zeros(P, width), torch.zeros(P), torch.zeros(width, P), torch.zeros(width)
    down, up = bottleneck.down, bottleneck.up
    more = P - len(down.bias)
    if not more:
        return down.weight, down.bias, up.weight, up.bias
    return (
        F.pad(down.weight, (0, 0, 0, more)),
        F.pad(down.bias, (0, more)),
        F.pad(up.weight, (0, more)),
        up.bias,
    )


class _Given:
    """A sub-network whose weights are inputs of the graph: what `Backbone.forward` needs of an `Adapter`."""

    def __init__(self, weights: tuple[Tensor, ...]) -> None:
        self._weights = weights

    def at(self, block: int) -> Callable[[Tensor], Tensor]:
        """Return the bottleneck of a block."""
        n = len(_PARTS)
        return partial(_bottleneck, self._weights[n * block : n * (block + 1)])


def _bottleneck(weights: tuple[Tensor, ...], x: Tensor) -> Tensor:
    down, down_bias, up, up_bias = weights
    inner = torch.relu(x @ down.transpose(1, 2) + down_bias[:, None])
    return SCALE * (inner @ up.transpose(1, 2) + up_bias[:, None])


class _Traced(nn.Module):
    """What is exported: images and weights in, features out."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor, *weights: Tensor) -> Tensor:
        given: Any = _Given(weights)
        features: Tensor = self.backbone(images, given, pooling="token_and_patches")
        return features


def _example(backbone: Backbone, *, first: int) -> Adapter:
    """Return some sub-network."""
    width, depth = backbone.feature_width, backbone.depth
    return Adapter(width=width, depth=depth, bottleneck=2, first=first).freeze()


def _export(backbone: Backbone, weights: dict[str, Tensor], file: Path) -> None:
    """Write the graph as an ONNX model, with inputs for such weights, as wide as they come."""
    size = backbone.image_size
    wide = {
        name: {0: "G"}
        | ({} if name.endswith("up.bias") else {2 if name.endswith("up.weight") else 1: f"P{name}"})
        for name in weights
    }
    write_graph(
        _Traced(backbone),
        (torch.zeros(2, 3, size, size, dtype=torch.uint8), *weights.values()),
        file,
        inputs=[_IMAGES, *weights],
        outputs=[_FEATURES],
        axes={_IMAGES: {0: "B"}, _FEATURES: {0: "B"}} | wide,
    )
