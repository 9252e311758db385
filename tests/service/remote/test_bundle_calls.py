"""Bundles are saved to files and sent from them."""

import pytest

from service.client import (
    ProblemError,
    Retries,
    UnreachableError,
)


def test_a_bundle_appears_complete_or_not_at_all(connect, address, script, tmp_path):
    client = connect(address, retries=Retries(most=1, first_pause_s=0.001))
    file = tmp_path / "birds.tar"
    script.stream(b"half", is_cut=True)
    script.stream(b"half", is_cut=True)
    with pytest.raises(UnreachableError):
        client.save_bundle("birds", 1, file)
    script.add({"code": "version-not-found"}, status=404)
    with pytest.raises(ProblemError):
        client.save_bundle("birds", 1, file)
    assert list(tmp_path.iterdir()) == []
    script.stream(b"half", is_cut=True)
    script.stream(b"wh", b"ole")
    assert client.save_bundle("birds", 1, file) == file
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"whole"]


def test_an_onnx_file_is_saved_in_the_same_way(client, script, tmp_path):
    script.stream(b"wh", b"ole")

    assert client.save_onnx("birds", 3, tmp_path / "birds.onnx") == tmp_path / "birds.onnx"

    assert (tmp_path / "birds.onnx").read_bytes() == b"whole"
    assert script.requests[0][1] == "/v1/learners/birds/versions/3/export?format=onnx"


def test_a_bundle_is_sent_from_its_file(client, script, tmp_path):
    (tmp_path / "birds.tar").write_bytes(b"whole")
    script.hang_up()
    script.add({"name": "finches"}, status=201)
    client.import_learner(tmp_path / "birds.tar", name="finches")
    assert [body for _, _, _, body in script.requests] == [b"whole", b"whole"]
    assert script.requests[1][1] == "/v1/learners/import?name=finches"
