"""Writing what PyTorch computes down as an ONNX graph, and running such graphs.

The exporter is the one that traces: it takes half a second where the one that PyTorch recommends instead takes twelve.
It keeps what it does in globals, so graphs are written one at a time. What it has no word for, and closed forms need,
is here.
"""

import importlib
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn

from models.errors import ExportError

PACKAGES = ("onnx", "onnxruntime")
"""Only processes that write or run graphs pay for importing them."""
OPSET = 17
_WRITING = Lock()
_torch_onnx: Any = torch.onnx
_FLOAT, _INT64, _DOUBLE = 1, 7, 11
"""Types as ONNX numbers them."""


def require_packages() -> None:
    """See that there is what graphs need.

    Raises:
        ExportError: If it is not installed.
    """
    if not all(find_spec(package) for package in PACKAGES):
        raise ExportError(f"The packages {' and '.join(PACKAGES)} are not installed.")


def write_graph(
    module: nn.Module,
    example: Sequence[Tensor],
    file: Path,
    *,
    inputs: Sequence[str],
    outputs: Sequence[str],
    axes: Mapping[str, Mapping[int, str]],
) -> None:
    """Write a module as an ONNX model. Takes about a second, without gradients.

    Args:
        module: What it computes depends on its inputs by their values alone: no branch, and no loop over them.
        example: Of its inputs.
        file: To write.
        inputs: Their names.
        outputs: Names of what it returns.
        axes: Names of the axes of each that may be of any length.
    """
    with _WRITING, warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        for operator, symbolic in _SYMBOLICS.items():
            _torch_onnx.register_custom_op_symbolic(f"aten::{operator}", symbolic, OPSET)
        torch.onnx.export(
            module,
            tuple(example),
            file,
            dynamo=False,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes={name: dict(mine) for name, mine in axes.items()},
        )


def open_graph(file: Path) -> Any:
    """Return a session of ONNX Runtime on the CPU, with as many threads as PyTorch has."""
    onnxruntime = importlib.import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    # Threads that spin while they wait take the cores from whatever else runs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def _solve_triangular(
    g: Any, root: Any, right: Any, upper: Any, left: Any, unitriangular: Any
) -> Any:
    """`X root = right` of a fixed root, as a product with its inverse."""
    known = root.node().t("value")
    inverse = torch.linalg.inv(known.double()).to(known.dtype)
    return g.op("MatMul", right, g.op("Constant", value_t=inverse))


def _ndtr(g: Any, x: Any) -> Any:
    """The normal distribution's `(1 + erf(x / sqrt(2))) / 2`, in float32, which is all that runtimes have."""
    constant = _constants(g)
    scaled = g.op("Mul", g.op("Cast", x, to_i=_FLOAT), constant(math.sqrt(0.5)))
    share = g.op("Mul", g.op("Add", g.op("Erf", scaled), constant(1.0)), constant(0.5))
    return g.op("Cast", share, to_i=_DOUBLE)


def _searchsorted(
    g: Any, ascending: Any, values: Any, out_int32: Any, right: Any, side: Any, sorter: Any
) -> Any:
    """How many of `ascending` lie below each of `values`."""
    last = g.op("Constant", value_t=torch.tensor([1]))
    below = g.op("Less", ascending, g.op("Unsqueeze", values, last))
    return g.op("ReduceSum", g.op("Cast", below, to_i=_INT64), last, keepdims_i=0)


def _constants(g: Any) -> Callable[[float], Any]:
    return lambda value: g.op("Constant", value_t=torch.tensor(value))


_SYMBOLICS = {
    "linalg_solve_triangular": _solve_triangular,
    "special_ndtr": _ndtr,
    "searchsorted": _searchsorted,
}
"""How operators are written that the exporter does not know, as far as heads and scales use them: a root from the
right, and the first place that is not lower."""
