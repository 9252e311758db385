"""The contract's file follows the app."""

import sys

import pytest

from service import contract


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setattr(contract, "FILE", tmp_path / "openapi.json")
    return contract.FILE


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["contract", *arguments])
    contract.main()


def test_a_drift_is_noticed(file, monkeypatch):
    with pytest.raises(SystemExit, match="make openapi"):
        run(monkeypatch, "--check")
    run(monkeypatch)
    run(monkeypatch, "--check")
    written = file.read_text("utf-8")
    assert written.endswith("}\n")
    file.write_text(written.replace('"/v1/learners"', '"/v1/pupils"'), "utf-8")
    with pytest.raises(SystemExit, match="make openapi"):
        run(monkeypatch, "--check")
    assert "/v1/pupils" in file.read_text("utf-8")


def test_the_environment_is_not_part_of_the_contract(file, monkeypatch, tmp_path):
    before = contract.as_text(contract.schema())
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:9/0")
    monkeypatch.setenv("DATABASE_URL", "postgresql://127.0.0.1:9/x")
    monkeypatch.setenv("FILOPODIA_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("FILOPODIA_MAX_IMAGE_BYTES", "1000")
    assert contract.as_text(contract.schema()) == before
    assert not (tmp_path / "data").exists()
