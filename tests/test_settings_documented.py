"""Every setting an operator can change stands in `.env.example`, and nothing else does."""

import re
from pathlib import Path

import pytest

from registry.environment import KNOWN
from registry.settings import RegistrySettings
from service.settings import ServiceSettings
from worker.settings import ENVIRONMENT_NAMES, WorkerSettings

EXAMPLE = Path(__file__).parent.parent / ".env.example"
COMMAND_LINE = {"FILOPODIA_URL", "FILOPODIA_KEY"}


def documented() -> set[str]:
    return set(re.findall(r"^#?([A-Z_]+)=", EXAMPLE.read_text(), flags=re.MULTILINE))


def names(settings: type[RegistrySettings]) -> set[str]:
    fields = settings.model_fields
    return {ENVIRONMENT_NAMES.get(name, f"FILOPODIA_{name.upper()}") for name in fields}


@pytest.mark.parametrize("settings", [ServiceSettings, WorkerSettings])
def test_every_setting_is_documented(settings):
    assert names(settings) <= documented()


def test_every_name_is_known_to_whoever_looks_for_slips():
    prefixed = {name for name in documented() if name.startswith("FILOPODIA_")}
    assert prefixed <= KNOWN
    # `LOG_FORMAT` is known before it is there.
    assert KNOWN - prefixed <= {"FILOPODIA_LOG_FORMAT"}


def test_nothing_else_is_documented():
    assert documented() == names(ServiceSettings) | names(WorkerSettings) | COMMAND_LINE
