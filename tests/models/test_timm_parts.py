"""timm without PyTorch's compiler: in processes of their own, as this one has loaded all there is."""

import subprocess
import sys

import pytest

ANSWERS = """
import sys
import torch
from models.backbone import load_backbone
from models.strategies.catalog import create_strategy
from models.strategies.values import Task

images = torch.randint(0, 256, (12, 3, 64, 64), dtype=torch.uint8)
strategy = create_strategy("artsy", {}, load_backbone("bundled"))
for index in (1, 2):
    strategy.learn(Task(index, images, (f"heron {index}", f"egret {index}") * 6))
strategy.predict(images[:2])
"""
LATER = """
import sys
from models.timm_parts import compiler_later

with compiler_later():
    from torch._dynamo.utils import is_compile_supported
    import torch.compiler

    @torch.compiler.disable(recursive=False)
    def double(number, *, times=2):
        return number * times
"""
NOT_LOADED = "assert not [name for name in sys.modules if name.startswith('torch._dynamo')]\n"
LOADED = """
import torch._dynamo.utils
assert torch._dynamo.__file__ and torch._dynamo.utils.__file__
assert torch._dynamo.utils.is_compile_supported is not is_compile_supported
"""


@pytest.mark.parametrize(
    "script",
    [
        ANSWERS + NOT_LOADED,
        "import sys, service.app, worker.waiting\n" + NOT_LOADED,
        LATER + NOT_LOADED + "assert double(4) == 8 and double(4, times=3) == 12\n" + LOADED,
        LATER + NOT_LOADED + "assert is_compile_supported('cpu') in (True, False)\n" + LOADED,
        # Whoever wants more in the block has it, and what comes later too.
        LATER.replace("import torch.compiler", "from torch._dynamo.utils import counters, torch")
        + LOADED,
        # What is loaded already is taken.
        "import torch._dynamo as before\n"
        + LATER
        + "assert sys.modules['torch._dynamo'] is before\n",
    ],
    ids=["learns and answers", "service and worker", "disabled", "supported", "more", "loaded"],
)
def test_the_compiler_is_loaded_by_who_uses_it(script):
    done = subprocess.run(
        [sys.executable, "-c", script], stderr=subprocess.PIPE, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
