"""What heads have in common: under a metric a cosine is a product with the features, over their length there.

Shapes: B images, K vectors, W feature width, J coordinates.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class LinearForm:
    """Scalar products of images with some vectors, and the squared lengths of images, in the space of one head.

    They are `x @ products + offsets` and `(x @ coordinates)^2 @ weights + centred |x|^2 + plain |x + centre|^2` of what
    is seen from the head's centre, x.
    """

    products: Tensor
    """float32 `(W, K)`."""
    offsets: Tensor
    """float32 `(K,)`."""
    coordinates: Tensor
    """float32 `(W, J)`."""
    weights: Tensor
    """float32 `(J,)`."""
    centred: float = 0.0
    plain: float = 0.0

    @classmethod
    def through(cls, to_space: Tensor, vectors: Tensor) -> "LinearForm":
        """Return that of a space that a map `(W, J)` leads to, with vectors `(K, J)` there."""
        products = (to_space.double() @ vectors.double().T).float()
        return cls(products, torch.zeros(len(vectors)), to_space, torch.ones(to_space.shape[1]))


def inverse_of(root: Tensor) -> Tensor:
    """Return the inverse of an upper triangular `(W, W)`, float32."""
    eye = torch.eye(len(root), dtype=torch.float64)
    inverse: Tensor = torch.linalg.solve_triangular(root.double(), eye, upper=True)
    return inverse.float()
