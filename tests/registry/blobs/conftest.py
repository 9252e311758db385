"""Stores of either kind. The S3 store speaks HTTP to moto's server, which runs here in a thread."""

import boto3
import pytest
from botocore.config import Config
from moto.server import ThreadedMotoServer

from tests.registry.blobs.places import BUCKET, Bucket, Folder


@pytest.fixture(scope="module")
def s3_server():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3_environment(s3_server, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


@pytest.fixture
def s3_client(s3_environment):
    client = boto3.session.Session().client("s3", config=Config(retries={"max_attempts": 0}))
    client.create_bucket(Bucket=BUCKET)
    yield client
    for item in client.list_objects_v2(Bucket=BUCKET).get("Contents", ()):
        client.delete_object(Bucket=BUCKET, Key=item["Key"])
    client.delete_bucket(Bucket=BUCKET)


@pytest.fixture(params=["local", "s3"])
def place(request, tmp_path):
    """Where a store keeps its blobs; its `store` is the store."""
    if request.param == "local":
        return Folder(tmp_path / "blobs")
    return Bucket(request.getfixturevalue("s3_client"))


@pytest.fixture
def store(place):
    return place.store
