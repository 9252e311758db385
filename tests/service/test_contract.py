"""The contract's files follow the app."""

import sys

import pytest

from service import contract
from service.contract_replies import REPLIES, python_type


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.setattr(contract, "FILE", tmp_path / "openapi.json")
    monkeypatch.setattr(contract, "PYTHON_FILE", tmp_path / "replies.py")
    return {file.name: file for file in (contract.FILE, contract.PYTHON_FILE)}


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["contract", *arguments])
    contract.main()


@pytest.mark.parametrize(
    ("name", "said", "other"),
    [
        ("openapi.json", '"/v1/learners"', '"/v1/pupils"'),
        ("replies.py", "    live_version: int", "    live_version: str"),
    ],
)
def test_a_drift_is_noticed(name, said, other, files, monkeypatch):
    with pytest.raises(SystemExit, match="make openapi"):
        run(monkeypatch, "--check")
    run(monkeypatch)
    run(monkeypatch, "--check")
    written = files[name].read_text("utf-8")
    assert said in written
    files[name].write_text(written.replace(said, other), "utf-8")
    with pytest.raises(SystemExit, match=f"{name}.*make openapi"):
        run(monkeypatch, "--check")
    assert other in files[name].read_text("utf-8")


def test_the_committed_files_are_those_of_the_app():
    schema = contract.schema()
    assert contract.FILE.read_text("utf-8") == contract.as_text(schema)
    assert contract.PYTHON_FILE.read_text("utf-8") == contract.as_python(schema)


def test_the_environment_is_not_part_of_the_contract(monkeypatch, tmp_path):
    before = contract.as_text(contract.schema())
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:9/0")
    monkeypatch.setenv("DATABASE_URL", "postgresql://127.0.0.1:9/x")
    monkeypatch.setenv("FILOPODIA_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("FILOPODIA_MAX_IMAGE_BYTES", "1000")
    assert contract.as_text(contract.schema()) == before
    assert not (tmp_path / "data").exists()


def test_what_the_client_knows_beyond_the_contract_does_not_contradict_it():
    schemas = contract.schema()["components"]["schemas"]
    beyond = set()
    for name, reply in REPLIES.items():
        properties = schemas[reply.schema]["properties"]
        for key, said in reply.fields.items():
            if key in properties:
                # Only when it is there and not null may be known better.
                kind = python_type(properties[key])
                assert said.kind in {kind, kind.removesuffix(" | None")}, (name, key)
            else:
                beyond.add((name, key))
    shown_once = {("Key", "key"), ("Subscription", "secret")}
    assert beyond == {("Learner", "etag"), ("LearnedClass", "etag"), *shown_once}
    for name, key in shown_once:
        created = schemas[f"{name}Created"]["properties"]
        assert created.keys() - schemas[f"{name}Read"]["properties"].keys() == {key}
        assert REPLIES[name].fields[key].kind == f"NotRequired[{python_type(created[key])}]"
