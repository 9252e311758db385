"""Reading a state dict: every tensor by its key, with the shape and type it has to have, or a refusal in a sentence.

What is read may be damaged or forged, so nothing is allocated by what it says of itself before its tensors are seen.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from models.errors import CheckpointError

Shape = Sequence[int | None]
"""Sizes of a tensor's dimensions; None is any."""

ModuleT = TypeVar("ModuleT", bound=nn.Module)


class StateReader:
    """The tensors of one part of a state dict. They are handed out as they are, not copied.

    Example:
        >>> reader = StateReader({"head.weight": torch.zeros(2, 8)}, "head.", what="the head")
        >>> tuple(reader.tensor("weight", (2, None)).shape)
        (2, 8)
        >>> reader.tensor("bias", (2,))
        Traceback (most recent call last):
            ...
        models.errors.CheckpointError: What is stored of the head is incomplete: head.bias is missing.
    """

    def __init__(self, state: Mapping[str, Tensor], prefix: str = "", *, what: str) -> None:
        """Look at the tensors whose keys begin with a prefix.

        Args:
            state: As `state_dict` returned it, or as somebody forged it.
            prefix: Of all keys that are read; names leave it out.
            what: What is read, as a part of a sentence, for refusals.
        """
        self._state = state
        self._prefix = prefix
        self._what = what

    def __contains__(self, name: str) -> bool:
        """Return whether there is a tensor of that name, whatever it is."""
        return self._prefix + name in self._state

    def tensor(self, name: str, shape: Shape, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return a tensor.

        Raises:
            CheckpointError: If it is missing, or has another shape or type.
        """
        key = self._prefix + name
        tensor = self._state.get(key)
        if tensor is None:
            raise self._refusal(f"is incomplete: {key} is missing")
        if len(shape) != tensor.ndim or any(
            size not in (None, own) for size, own in zip(shape, tensor.shape, strict=True)
        ):
            raise self._refusal(
                f"has shapes that do not fit: {key} is {_sizes(tensor.shape)} instead of {_sizes(shape)}"
            )
        if tensor.dtype != dtype:
            raise self._refusal(
                f"has types that do not fit: {key} is {_plain(tensor.dtype)} instead of {_plain(dtype)}"
            )
        return tensor

    def number(self, name: str) -> float:
        """Return a float64 of no dimension; see `tensor`."""
        return float(self.tensor(name, (), torch.float64))

    def integer(self, name: str) -> int:
        """Return an int64 of no dimension; see `tensor`."""
        return int(self.tensor(name, (), torch.int64))

    def module(self, build: Callable[[], ModuleT]) -> ModuleT:
        """Return a frozen module with the tensors that are here: all of its own, and no others.

        Args:
            build: Makes one. It is called where nothing is allocated: a forged width would take all memory there is.

        Raises:
            CheckpointError: If a tensor is missing, has another shape or type, or is none of the module's.
        """
        try:
            with torch.device("meta"):
                module = build()
        except RuntimeError as error:
            raise self._refusal("does not fit: it would be larger than anything") from error
        outline = module.state_dict()
        strange = [k for k in with_prefix(self._state, self._prefix) if k not in outline]
        if strange:
            raise self._refusal(f"does not fit: {self._prefix}{strange[0]} is no part of it")
        own = {name: self.tensor(name, like.shape, like.dtype) for name, like in outline.items()}
        module = module.to_empty(device="cpu")
        module.load_state_dict(own)
        return module.eval().requires_grad_(False)

    def require(self, holds: bool, name: str) -> None:
        """Make sure of something that shape and type do not tell.

        Raises:
            CheckpointError: If it does not hold.
        """
        if not holds:
            raise self._refusal(f"has values that do not fit: {self._prefix}{name}")

    def _refusal(self, why: str) -> CheckpointError:
        return CheckpointError(f"What is stored of {self._what} {why}.")


def with_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names have that prefix, under the rest of their names."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def fill_first_rows(values: Mapping[str, Tensor], earlier: Mapping[str, Tensor]) -> None:
    """Put what is known from before into the first rows of each tensor: rows may have been added since.

    Raises:
        CheckpointError: If it is of no tensor here, or has more rows or another shape.
    """
    for name, known in earlier.items():
        value = values.get(name)
        if value is None or value.shape[1:] != known.shape[1:] or len(value) < len(known):
            raise CheckpointError(f"What is stored for {name} does not fit that weight.")
        value[: len(known)] = known.to(value)


def _sizes(shape: Shape) -> str:
    return " x ".join("any" if size is None else str(size) for size in shape) or "one number"


def _plain(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
