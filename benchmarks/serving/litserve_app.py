"""The same backbone as one would serve it with LitServe: `python -m benchmarks.serving.litserve_app PORT`.

Batches of up to 64 images within 2 ms, a linear head, nothing stored, no keys; images are decoded scaled down where
their format allows it. Needs the extra `litserve`, which nothing else does.
"""

import argparse
import importlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from starlette.requests import Request

from models.backbone import Backbone, load_backbone

NAME = "litserve"
"""Not installed with the other extras."""
litserve: Any = importlib.import_module(NAME)
MAX_BATCH, BATCH_WAIT_S = 64, 0.002
CLASSES = 10


class Api(litserve.LitAPI):  # type: ignore[misc]
    """Decodes, embeds and classifies."""

    def __init__(self, backbone: str, weights: Path | None) -> None:
        super().__init__(max_batch_size=MAX_BATCH, batch_timeout=BATCH_WAIT_S)
        self._name, self._weights = backbone, weights

    def setup(self, device: str) -> None:
        """Load the backbone, in the process that predicts."""
        self.backbone: Backbone = load_backbone(
            self._name, weights=self._weights, with_background=False
        )
        self.head = torch.nn.Linear(self.backbone.feature_width, CLASSES).eval()

    def decode_request(self, request: Request, **more: Any) -> torch.Tensor:
        """Return one image, uint8 `(3, S, S)`. What comes is the form; the annotation says that there is one."""
        form: Any = request
        image = Image.open(io.BytesIO(form["image"].file.read()))
        size = self.backbone.image_size
        image.draft("RGB", (size, size))
        return self.backbone.preprocess(np.asarray(image.convert("RGB")))

    def batch(self, inputs: list[torch.Tensor]) -> torch.Tensor:
        """Put images together, uint8 `(B, 3, S, S)`."""
        return torch.stack(inputs)

    def predict(self, x: torch.Tensor, **more: Any) -> torch.Tensor:
        """Return scores of all classes, `(B, K)`."""
        images = x if x.ndim == 4 else x[None]
        with torch.inference_mode():
            return torch.softmax(self.head(self.backbone(images)), dim=1)

    def unbatch(self, output: torch.Tensor) -> list[torch.Tensor]:
        """Take answers apart."""
        return list(output)

    def encode_response(self, output: torch.Tensor, **more: Any) -> dict[str, Any]:
        """Answer with the best class and all scores."""
        scores = output.flatten()
        return {"label": int(scores.argmax()), "scores": scores.tolist()}


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving.litserve_app")
    parser.add_argument("port", type=int)
    parser.add_argument("--backbone", default="bundled")
    parser.add_argument("--weights", type=Path)
    given = parser.parse_args()
    server = litserve.LitServer(
        Api(given.backbone, given.weights), accelerator="cpu", track_requests=False
    )
    server.run(host="127.0.0.1", port=given.port, generate_client_file=False, log_level="error")


if __name__ == "__main__":
    main()
