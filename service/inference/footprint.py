"""How much memory what was learned takes."""

from collections import deque
from collections.abc import Mapping
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
from torch import Tensor

from models.backbone import Backbone

_CONTAINERS = (list, tuple, set, frozenset, deque)
_NO_HOLDERS = (str, bytes, int, float, type, FunctionType, ModuleType, Backbone)
"""Not looked into. A backbone is shared by all versions that were learned on it."""


def tensor_bytes(root: object) -> int:
    """Return the bytes of all tensors and arrays that an object holds, each memory once, shared backbones aside."""
    sizes: dict[int, int] = {}
    seen: set[int] = set()
    pending: list[Any] = [root]
    while pending:
        item = pending.pop()
        if id(item) in seen or isinstance(item, _NO_HOLDERS):
            continue
        seen.add(id(item))
        if isinstance(item, Tensor):
            storage = item.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
        elif isinstance(item, np.ndarray):
            sizes[item.ctypes.data] = item.nbytes
        else:
            pending.extend(_held_by(item))
    return sum(sizes.values())


def _held_by(item: object) -> list[Any]:
    if isinstance(item, Mapping):
        return list(item.values())
    if isinstance(item, _CONTAINERS):
        return list(item)
    slots = [name for kind in type(item).__mro__ for name in getattr(kind, "__slots__", ())]
    held = [getattr(item, name, None) for name in slots]
    return [*held, *list(getattr(item, "__dict__", {}).values())]
