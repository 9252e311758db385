"""What a learner knows as one ONNX file, which answers with ONNX Runtime alone: no service, no PyTorch.

The backbone with the functional sub-network, the heads, their calibration and the scale of novelty are one graph. What
lies behind silent synapses is left out, as which of it is asked differs from image to image; the file says of each
image whether the service would have asked.

Shapes: B images, S input side, K classes that are answered.
"""

import importlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.backbone import Backbone
from models.errors import ExportError
from models.onnx_graphs import open_graph, require_packages, write_graph
from models.strategies.base import Strategy

CLOSE = {"scores": 0.02, "novelty": 0.05}
"""How far answers to images like nothing that was learned may lie from PyTorch's. There rounding counts most: in large
log-likelihoods, and in novelty, a share of known images that may look alike."""
TRACED, CHECKED = 2, 8
"""Images that are traced, so few that no step takes them in parts, and those that are asked of both."""
_IMAGES = "images"
_ANSWERS = ("scores", "novelty", "known", "would_fire")
_LEFT_OUT = (
    "Silent sub-networks. Where `would_fire` is true, the service takes one more pass through those whose synapses "
    "fire, and may answer otherwise."
)


def write_file(
    strategy: Strategy[Any], file: Path, *, hidden: Collection[str], facts: Mapping[str, Any]
) -> None:
    """Write what a learner answers as an ONNX model. Takes a second or two, and its size in memory twice.

    Its input is `images`, uint8 `(B, S, S, 3)`, RGB. It returns `scores`, float32 `(B, K)`, which sum to 1; `novelty`,
    float32 `(B,)`; `known` and `would_fire`, bool `(B,)`.

    Args:
        strategy: Has learned something.
        file: To write.
        hidden: Labels of classes that are not answered; at least one other is left. The others share their scores.
        facts: What the file tells about itself beside that, each as JSON: `labels` of the classes that are answered.

    Raises:
        ExportError: If packages are missing, or these answers cannot be written, or the file answers otherwise.
    """
    require_packages()
    if not strategy.is_one_graph:
        raise ExportError(
            f"The strategy {strategy.name} takes other steps for every image: they are no one graph."
        )
    answers = _Answers(strategy, hidden)
    images = _some_images(strategy.backbone)
    axes = {name: {0: "B"} for name in (_IMAGES, *_ANSWERS)}
    try:
        write_graph(answers, [images[:TRACED]], file, inputs=[_IMAGES], outputs=_ANSWERS, axes=axes)
        _tell(file, {"left_out": _LEFT_OUT if strategy.synapse_tasks_ else None, **facts})
        _check(answers, file, images)
    except ExportError:
        raise
    except Exception as error:  # of the exporter, or of the runtime: each has many of its own
        raise ExportError("What was learned cannot be written as one graph.") from error


class _Answers(nn.Module):
    """What is written: images in, answers out."""

    def __init__(self, strategy: Strategy[Any], hidden: Collection[str]) -> None:
        super().__init__()
        strategy.prepare()
        self._strategy = strategy
        shown = [k for k, label in enumerate(strategy.classes_) if label not in hidden]
        self._shown = None if len(shown) == len(strategy.classes_) else torch.tensor(shown)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        answer = self._strategy.predict_unrouted(images.permute(0, 3, 1, 2))
        scores, novelty = answer.probabilities, answer.novelty
        if self._shown is not None:
            scores = scores[:, self._shown]
            mass = scores.sum(dim=1, keepdim=True)
            # All of it can lie on what is hidden: then nothing tells the others apart.
            scores = torch.where(mass > 0, scores / mass.clamp(min=1e-38), 1 / scores.shape[1])
        fires = novelty < -1  # none
        if answer.functional.shape[1]:
            fires = answer.functional.any(dim=1)
        return scores, novelty, novelty <= self._strategy.novelty_threshold, fires


def _some_images(backbone: Backbone) -> Tensor:
    """Draw coarse images, `(CHECKED, S, S, 3)`: they look more different to a backbone than noise does."""
    size, generator = backbone.image_size, torch.Generator().manual_seed(0)
    coarse = torch.rand(CHECKED, 3, 4, 4, generator=generator) * 255
    images = F.interpolate(coarse, size=(size, size), mode="bilinear")
    return images.to(torch.uint8).permute(0, 2, 3, 1).contiguous().to(backbone.device)


def _tell(file: Path, facts: Mapping[str, Any]) -> None:
    onnx = importlib.import_module("onnx")
    model = onnx.load(file)
    model.producer_name = "filopodia"
    onnx.helper.set_model_props(model, {name: json.dumps(fact) for name, fact in facts.items()})
    onnx.save(model, file)


def _check(answers: _Answers, file: Path, images: Tensor) -> None:
    """Ask both about the same images, and about one of them alone.

    Raises:
        ExportError: If they do not agree.
    """
    session = open_graph(file)
    for asked in (images, images[:1]):
        with torch.inference_mode():
            expected = answers(asked)
        found = session.run(list(_ANSWERS), {_IMAGES: asked.cpu().numpy()})
        for name, mine, theirs in zip(_ANSWERS, found, expected, strict=True):
            gap = (torch.from_numpy(mine) - theirs.cpu()).abs().max() if name in CLOSE else 0
            if not gap <= CLOSE.get(name, 0):
                raise ExportError("What was learned answers otherwise as one graph.")
