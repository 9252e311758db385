"""timm without what comes with it: in processes of their own, as this one has loaded all there is."""

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
REST = """
import sys
import models.timm_parts as parts
import models.backbone

waiting = {"timm.models.beit", "timm.data.transforms", "torchvision.transforms", "huggingface_hub.utils"}
assert not waiting & sys.modules.keys()
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


@pytest.mark.parametrize(
    "script",
    [
        REST + "assert parts.timm.is_model('resnet18') and 'timm.models.beit' in sys.modules\n",
        REST
        + "assert models.backbone.expected_side('vit_tiny_patch16_224.augreg_in21k_ft_in1k') == 249\n",
        REST
        + "from timm.models import VisionTransformer as own\nassert own is parts.VisionTransformer\n",
        REST + "from timm.data import create_transform\nassert callable(create_transform(224))\n",
        REST
        + "import torchvision\nassert callable(torchvision.ops.nms) and torchvision.transforms.Resize\n",
        REST + "from torchvision.transforms import Resize\nassert Resize(8)\n",
        REST
        + "import timm\nassert not hasattr(timm, 'nothing') and timm.__version__ == timm.version.__version__\n",
    ],
    ids=["models", "vit", "the same", "data", "torchvision", "a module", "no name"],
)
def test_what_waits_is_there_for_who_asks(script):
    done = subprocess.run(
        [sys.executable, "-c", script + NOT_LOADED], stderr=subprocess.PIPE, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_timm_that_is_loaded_already_is_taken():
    script = (
        "import timm as before\nimport models.timm_parts as parts\nassert parts.timm is before\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_threads_that_ask_at_once_find_the_same():
    script = """
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
at_once = Barrier(8)
def ask(_):
    at_once.wait()
    return parts.timm.is_model("resnet18"), id(parts.timm.create_model)
with ThreadPoolExecutor(8) as pool:
    assert len(set(pool.map(ask, range(8)))) == 1
"""
    done = subprocess.run(
        [sys.executable, "-c", REST + script], stderr=subprocess.PIPE, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_client_of_the_hub_comes_with_the_first_download():
    script = """
from timm.models import _hub
try:
    _hub.hf_hub_download("timm/none", filename="none", local_files_only=True, cache_dir=sys.argv[1])
except _hub.EntryNotFoundError as error:
    from huggingface_hub.errors import LocalEntryNotFoundError
    assert type(error) is LocalEntryNotFoundError and _hub.has_hf_hub()
    assert "huggingface_hub.utils" in sys.modules and sys.modules["huggingface_hub"].__file__
else:
    raise AssertionError
"""
    done = subprocess.run(
        [sys.executable, "-c", REST + script, "."], stderr=subprocess.PIPE, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
