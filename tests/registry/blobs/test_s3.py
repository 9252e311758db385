"""What is so of the S3 store alone."""

import socket

import pytest

from registry.blobs import s3 as s3_blobs
from registry.blobs.opening import open_blob_store
from registry.errors import (
    BlobStoreUnavailableError,
)
from tests.registry.blobs.places import BUCKET
from tests.waiting import within

ABSENT = "0" * 64


def test_s3_writes_once_and_says_so_to_the_store(s3_client, monkeypatch):
    store = open_blob_store(f"s3://{BUCKET}")
    sha256 = store.put(b"heron")
    key = f"sha256/{sha256[:2]}/{sha256[2:]}"
    assert s3_client.get_object(Bucket=BUCKET, Key=key)["Body"].read() == b"heron"
    # Another put got there between the question and the answer: the store refuses, and that is well.
    monkeypatch.setattr(store, "_head", lambda sha256: None)
    assert store.put(b"heron") == sha256


def test_s3_that_does_not_answer_is_unavailable(s3_environment, monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{closed.getsockname()[1]}")
        store = open_blob_store(f"s3://{BUCKET}/x")
        for attempt in (
            lambda: store.get(ABSENT),
            lambda: store.put(b"heron"),
            lambda: store.exists(ABSENT),
            lambda: list(store.listing()),
        ):
            with pytest.raises(BlobStoreUnavailableError):
                attempt()


def test_s3_that_hangs_is_given_up(s3_environment, monkeypatch):
    monkeypatch.setattr(s3_blobs, "READ_TIMEOUT_S", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with within(10), pytest.raises(BlobStoreUnavailableError, match="answer"):
            open_blob_store(f"s3://{BUCKET}").get(ABSENT)


def test_s3_without_its_bucket_is_unavailable_not_empty(s3_environment):
    store = open_blob_store("s3://no-such-bucket/x")
    with pytest.raises(BlobStoreUnavailableError) as caught:
        store.get(ABSENT)
    assert "bucket" in caught.value.reason
    with pytest.raises(BlobStoreUnavailableError):
        store.put(b"heron")
    with pytest.raises(BlobStoreUnavailableError):
        list(store.listing())
