"""What we use of timm, imported without what comes with it: PyTorch's compiler, other models, torchvision, the hub.

timm and torchvision, which it needs, tell the compiler at two places which functions it is not to touch: of detectors
and of models for pictures of any shape, which nothing here uses. Importing the compiler takes as long as importing
PyTorch, so they are told to wait: the first call of such a function imports it.

timm's packages import each of its models, and all that torchvision does with pictures. Here the modules that we use are
imported and the packages around them wait: whoever asks for more of one has it imported then, and finds it as ever.
The client of the hub waits for a download.
"""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, wraps
from threading import RLock
from types import ModuleType
from typing import Any

COMPILER = "torch._dynamo"
UTILS = "torch._dynamo.utils"
HUB, HUB_UTILS, HUB_ERRORS = "huggingface_hub", "huggingface_hub.utils", "huggingface_hub.errors"
PACKAGES = (
    "torchvision",
    "torchvision.ops",
    "torchvision.models",
    "timm",
    "timm.data",
    "timm.models",
)
"""Of which single modules are used; those around them first."""
_RUNNING: set[str] = set()
_ONE_AT_A_TIME = RLock()


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


def _become(module: ModuleType, kind: type[ModuleType]) -> None:
    module.__class__ = kind


class _Waiting(ModuleType):
    """A package whose own code waits until somebody wants more of it than modules that lie in it."""

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("__"):
            with _ONE_AT_A_TIME:
                _run(self)
        return ModuleType.__getattribute__(self, name)


def _run(package: ModuleType) -> None:
    """Run a package's code, unless that was done in another thread meanwhile, or this thread is about it."""
    name, spec = package.__name__, package.__spec__
    if type(package) is ModuleType or name in _RUNNING or spec is None or spec.loader is None:
        return
    _RUNNING.add(name)
    try:
        with compiler_later():
            spec.loader.exec_module(package)
        _become(package, ModuleType)
    finally:
        _RUNNING.remove(name)


class _Hub(ModuleType):
    """Stands for the hub's client, or for its `utils`, while timm is imported."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name.endswith("Error"):
            return getattr(importlib.import_module(HUB_ERRORS), name)

        def call(*args: Any, **kwargs: Any) -> Any:
            return getattr(importlib.import_module(self.__name__), name)(*args, **kwargs)

        return call


@contextmanager
def hub_later() -> Iterator[None]:
    """Import timm in this block, and the hub's client only once something is asked of it."""
    if HUB_UTILS in sys.modules or importlib.util.find_spec(HUB) is None:
        yield
        return
    importlib.import_module(HUB_ERRORS)
    before = {name: sys.modules.pop(name, None) for name in (HUB, HUB_UTILS)}
    sys.modules |= {name: _Hub(name) for name in before}
    try:
        yield
    finally:
        for name, module in before.items():
            del sys.modules[name]
            if module is not None:
                sys.modules[name] = module


def packages_wait() -> None:
    """Let the packages that are not imported yet wait. Their modules can be imported as ever."""
    for name in PACKAGES:
        spec = None if name in sys.modules else importlib.util.find_spec(name)
        if spec is None:
            continue
        package = importlib.util.module_from_spec(spec)
        _become(package, _Waiting)
        sys.modules[name] = package
        around, _, own = name.rpartition(".")
        if around:
            vars(sys.modules[around])[own] = package


packages_wait()
with compiler_later(), hub_later():
    import timm

    # What modules of timm ask of the packages around them.
    vars(timm).setdefault("__version__", importlib.import_module("timm.version").__version__)
    constants = vars(importlib.import_module("timm.data.constants"))
    vars(timm.data).update({name: constants[name] for name in constants if name.isupper()})

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
