import pytest
from pydantic import ValidationError

from worker.settings import WorkerSettings


def test_a_child_reads_back_what_was_written(monkeypatch, tmp_path):
    settings = WorkerSettings(
        data_dir=tmp_path,
        database_url="postgresql://u:p@h/d",
        blob_url=str(tmp_path / "b"),
        slots=3,
        lease_s=1.5,
        device="cpu",
        torch_threads=1,
    )
    environment = settings.environment()
    assert environment["PATH"]
    assert "FILOPODIA_TASK_TIME_LIMIT_S" not in environment
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert WorkerSettings() == settings


def test_needs_a_database(monkeypatch):
    monkeypatch.delenv("DATABASE_URL", raising=False)
    with pytest.raises(ValueError, match="DATABASE_URL"):
        WorkerSettings().require_database_url()


@pytest.mark.parametrize("bad", [{"device": "gpu"}, {"worker_id": "../x"}, {"slots": 0}])
def test_refuses(bad):
    with pytest.raises(ValidationError):
        WorkerSettings(**bad)
