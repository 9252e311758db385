import pytest
import torch

from models.errors import CheckpointError, ConfigError, DivergedError, TaskDataError
from registry.errors import (
    BlobDamagedError,
    DatabaseUnavailableError,
    FencedError,
    StaleHeadError,
    StorageFullError,
)
from worker.errors import PermanentTaskError, TemporaryTaskError
from worker.failures import sort_error


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (DivergedError("The loss is NaN."), PermanentTaskError, "diverged"),
        (TaskDataError("No image."), PermanentTaskError, "data-unreadable"),
        (BlobDamagedError("0" * 64), PermanentTaskError, "data-unreadable"),
        (ConfigError("Out of range."), PermanentTaskError, "internal"),
        (CheckpointError("Damaged."), PermanentTaskError, "internal"),
        (MemoryError(), PermanentTaskError, "out-of-memory"),
        (torch.OutOfMemoryError("CUDA out of memory"), PermanentTaskError, "out-of-memory"),
        (RuntimeError("DefaultCPUAllocator: not enough"), PermanentTaskError, "out-of-memory"),
        (RuntimeError("shapes cannot be multiplied"), PermanentTaskError, "internal"),
        (ZeroDivisionError(), PermanentTaskError, "internal"),
        (StaleHeadError(1, 2), TemporaryTaskError, "internal"),
        (StorageFullError(), TemporaryTaskError, "internal"),
        (OSError(28, "No space left on device"), TemporaryTaskError, "internal"),
    ],
)
def test_errors_are_sorted(error, kind, code):
    sorted_as = sort_error(error)
    assert isinstance(sorted_as, kind)
    assert sorted_as.code == code
    assert sorted_as.detail.endswith(".")
    assert "shapes" not in sorted_as.detail


@pytest.mark.parametrize("error", [FencedError("tsk_x", 1), DatabaseUnavailableError()])
def test_what_is_not_ours_to_record_stays(error):
    assert sort_error(error) is error
