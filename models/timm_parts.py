"""What we use of timm, imported without PyTorch's compiler.

timm and torchvision, which it needs, tell the compiler at two places which functions it is not to touch: of detectors
and of models for pictures of any shape, which nothing here uses. Importing the compiler takes as long as importing
PyTorch, so they are told to wait: the first call of such a function imports it.
"""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, wraps
from types import ModuleType
from typing import Any

COMPILER = "torch._dynamo"
UTILS = "torch._dynamo.utils"


def _disable(
    function: Callable[..., Any] | None = None, *options: Any, **named: Any
) -> Callable[..., Any]:
    """Do what `torch._dynamo.disable` does when the function is called for the first time."""
    if function is None:
        return lambda decorated: _disable(decorated, *options, **named)

    @cache
    def disabled() -> Callable[..., Any]:
        real: Callable[..., Any] = importlib.import_module(COMPILER).disable
        return real(function, *options, **named)  # type: ignore[no-any-return]

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return disabled()(*args, **kwargs)

    return call


def _is_compile_supported(device_type: str) -> bool:
    supported: bool = importlib.import_module(UTILS).is_compile_supported(device_type)
    return supported


class _Later(ModuleType):
    """Stands for a module of the compiler while others are imported. Whoever wants more of it gets the real one."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # asked of all modules by those who look for one
            raise AttributeError(name)
        _make_way()
        return getattr(importlib.import_module(self.__name__), name)


def _make_way() -> None:
    for name in (UTILS, COMPILER):
        if isinstance(sys.modules.get(name), _Later):
            del sys.modules[name]


@contextmanager
def compiler_later() -> Iterator[None]:
    """Import timm and torchvision in this block, and the compiler only once it is used."""
    if COMPILER not in sys.modules:
        compiler, utils = _Later(COMPILER), _Later(UTILS)
        vars(compiler)["disable"] = _disable
        vars(utils)["is_compile_supported"] = _is_compile_supported
        sys.modules |= {COMPILER: compiler, UTILS: utils}
    try:
        yield
    finally:
        _make_way()


with compiler_later():
    import timm
    from timm.data.config import resolve_model_data_config
    from timm.layers.attention import Attention
    from timm.layers.conv_bn_act import ConvNormAct
    from timm.layers.hybrid_embed import HybridEmbed
    from timm.layers.norm_act import BatchNormAct2d
    from timm.layers.pos_embed import resample_abs_pos_embed
    from timm.models.vision_transformer import Block, VisionTransformer
    from timm.models.vision_transformer_hybrid import ConvStem

__all__ = [
    "Attention",
    "BatchNormAct2d",
    "Block",
    "ConvNormAct",
    "ConvStem",
    "HybridEmbed",
    "VisionTransformer",
    "resample_abs_pos_embed",
    "resolve_model_data_config",
    "timm",
]
