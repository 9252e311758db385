"""Which store a location means."""

import os
import subprocess
import sys

import pytest

from registry.blobs.opening import open_blob_store
from registry.errors import (
    BlobLocationError,
)


def test_open_blob_store(tmp_path):
    for location in (str(tmp_path), tmp_path.as_uri()):
        assert open_blob_store(location).root == tmp_path
    for location in ("ftp://host/x", "file://elsewhere/x", "s3:///x"):
        with pytest.raises(BlobLocationError, match="BLOB_URL"):
            open_blob_store(location)


def test_s3_without_its_package_says_what_to_install(tmp_path):
    (tmp_path / "boto3.py").write_text("raise ModuleNotFoundError('boto3')")
    code = "from registry.blobs.opening import open_blob_store; open_blob_store('s3://bucket/x')"
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": f"{tmp_path}{os.pathsep}{os.getcwd()}"},  # noqa: PTH109
        capture_output=True,
        text=True,
        check=False,
    )
    assert "pip install 'filopodia[s3]'" in result.stderr


def test_boto3_is_loaded_only_when_used():
    code = "import sys, registry.blobs.opening; sys.exit('boto3' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
