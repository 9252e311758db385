"""The pass of a backbone as one ONNX graph, run by ONNX Runtime: on a CPU sooner than PyTorch, step by step.

A sub-network is an input of the graph. So there is one graph for all versions of all learners on a backbone: a version
takes over without anything to compile, and no weight of the backbone lies in memory once a version. While the graph
runs nothing of Python does, so other threads of the process do not wait for each step of it, nor it for them.

Shapes: B images, S input side, P bottleneck width, D feature width.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.adapter import SCALE, Adapter
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
        absent = _Absent(backbone.feature_width).weights
        self._absent = {
            f"{block}.{part}": absent[part] for block in range(backbone.depth) for part in _PARTS
        }
        try:
            with TemporaryDirectory(prefix="filopodia-graph-") as folder:
                file = Path(folder) / "pass.onnx"
                _export(backbone, self._inputs(_example(backbone, first=0)), file)
                self._session = open_graph(file)
            self._check(backbone)
        except BackboneError:
            raise
        except Exception as error:  # of the exporter, or of the runtime: each has many of its own
            raise BackboneError(f"Backbone {backbone.name} cannot be run as one graph.") from error

    def __call__(self, images: Tensor, adapter: Adapter | None) -> Tensor:
        """Return what `Backbone.forward` returns with `token_and_patches`.

        Args:
            images: uint8 `(B, 3, S, S)`.
            adapter: The sub-network, if there is one.
        """
        given = {_IMAGES: images} | self._inputs(adapter)
        columns = {name: tensor.numpy() for name, tensor in given.items()}
        (features,) = self._session.run([_FEATURES], columns)
        return torch.from_numpy(features)

    def _inputs(self, adapter: Adapter | None) -> dict[str, Tensor]:
        """Return the weights of a bottleneck in every block; one of no width where there is none."""
        weights = dict(self._absent)
        for block, bottleneck in () if adapter is None else adapter.blocks.items():
            mine = bottleneck.state_dict()
            weights |= {f"{block}.{part}": mine[part] for part in _PARTS}
        return weights

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


class _Absent:
    """A bottleneck of no width: it adds nothing."""

    def __init__(self, width: int) -> None:
        shapes = (0, width), (0,), (width, 0), (width,)
        self.weights = dict(zip(_PARTS, map(torch.zeros, shapes), strict=True))


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
    return SCALE * F.linear(torch.relu(F.linear(x, down, down_bias)), up, up_bias)


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
    wide = {name: {1 if name.endswith("up.weight") else 0: f"P{name}"} for name in weights}
    of_up = {name for name in weights if name.endswith("up.bias")}
    write_graph(
        _Traced(backbone),
        (torch.zeros(2, 3, size, size, dtype=torch.uint8), *weights.values()),
        file,
        inputs=[_IMAGES, *weights],
        outputs=[_FEATURES],
        axes={_IMAGES: {0: "B"}, _FEATURES: {0: "B"}}
        | {name: axes for name, axes in wide.items() if name not in of_up},
    )
