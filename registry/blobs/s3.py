"""Blobs in an S3-compatible store: Amazon's, MinIO, Ceph, Garage, ... Needs the extra `s3`.

Credentials, region and endpoint are boto3's own business: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`,
`AWS_ENDPOINT_URL`, profiles, instance roles. The key must be allowed to get, put, delete and list.
"""

import base64
import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from registry.blobs.store import BATCH_BYTES, REFRESH_AFTER, BlobInfo, is_hash
from registry.errors import (
    BlobDamagedError,
    BlobMissingError,
    BlobStoreUnavailableError,
    StorageFullError,
)

CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 3, 20
ATTEMPTS = 3
"""Of each request, the first included; boto3 waits longer before each."""
THREADS = 8
"""Requests at a time when many blobs are handled. Chosen, untested: their time is mostly waiting."""
BATCH_BLOBS = 256
"""Small blobs that `put_many` sends before it asks for more."""

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


class S3BlobStore:
    """Blobs as objects `<prefix>/sha256/ab/cdef...` of one bucket, which must exist."""

    def __init__(self, client: Any, bucket: str, prefix: str) -> None:
        self.bucket = bucket
        self.prefix = prefix
        self._start = f"{prefix}/sha256/" if prefix else "sha256/"
        self._client = client
        self._can_put_once = True

    def put(self, data: bytes) -> str:
        """See `BlobStore.put`. The store checks an MD5 of what arrives, and answers when it is durable."""
        sha256 = hashlib.sha256(data).hexdigest()
        head = self._head(sha256)
        if head is None or head.size != len(data):
            self._write(sha256, data, is_new=head is None)
        elif datetime.now(UTC) - head.modified > REFRESH_AFTER:
            self._write(sha256, data, is_new=False)
        return sha256

    def put_many(self, blobs: Iterable[bytes]) -> list[str]:
        """See `BlobStore.put_many`. Sends several at a time."""
        hashes: list[str] = []
        for batch in _batches(blobs):
            distinct = list(dict.fromkeys(batch))
            sent = dict(zip(distinct, _map(self.put, distinct), strict=True))
            hashes += [sent[data] for data in batch]
        return hashes

    def get(self, sha256: str) -> bytes:
        """See `BlobStore.get`."""
        with _store_errors(sha256):
            answer = self._client.get_object(Bucket=self.bucket, Key=self._key(sha256))
            data: bytes = answer["Body"].read()
        if hashlib.sha256(data).hexdigest() != sha256:
            raise BlobDamagedError(sha256)
        return data

    def exists(self, sha256: str) -> bool:
        """See `BlobStore.exists`."""
        return self._head(sha256) is not None

    def missing(self, hashes: Iterable[str]) -> set[str]:
        """See `BlobStore.missing`."""
        wanted = list(hashes)
        return {
            sha256
            for sha256, exists in zip(wanted, _map(self.exists, wanted), strict=True)
            if not exists
        }

    def size(self, sha256: str) -> int:
        """See `BlobStore.size`."""
        head = self._head(sha256)
        if head is None:
            raise BlobMissingError(sha256)
        return head.size

    def delete(self, sha256: str) -> None:
        """See `BlobStore.delete`."""
        with _store_errors(sha256):
            self._client.delete_object(Bucket=self.bucket, Key=self._key(sha256))

    def listing(self) -> Iterator[BlobInfo]:
        """See `BlobStore.listing`."""
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=self._start
        )
        with _store_errors(""):
            for page in pages:
                for item in page.get("Contents", ()):
                    sha256 = item["Key"].removeprefix(self._start).replace("/", "", 1)
                    if is_hash(sha256):
                        yield BlobInfo(sha256, item["Size"], item["LastModified"])

    def discard(self, hashes: Iterable[str], *, older_than: datetime) -> list[BlobInfo]:
        """See `BlobStore.discard`."""
        heads = [head for head in _map(self._head, list(hashes)) if head is not None]
        old = [head for head in heads if head.modified < older_than]
        _map(self.delete, [head.sha256 for head in old])
        return old

    def discard_leftovers(self, *, older_than: datetime) -> list[int]:
        """See `BlobStore.discard_leftovers`: an object is there whole or not at all."""
        return []

    def require_space(self, size_bytes: int, *, floor_bytes: int) -> None:
        """See `BlobStore.require_space`."""

    def _key(self, sha256: str) -> str:
        if not is_hash(sha256):
            raise BlobMissingError(sha256)
        return f"{self._start}{sha256[:2]}/{sha256[2:]}"

    def _head(self, sha256: str) -> BlobInfo | None:
        try:
            with _store_errors(sha256):
                answer = self._client.head_object(Bucket=self.bucket, Key=self._key(sha256))
        except BlobMissingError:
            return None
        return BlobInfo(sha256, answer["ContentLength"], answer["LastModified"])

    def _write(self, sha256: str, data: bytes, *, is_new: bool) -> None:
        request: dict[str, Any] = {
            "Bucket": self.bucket,
            "Key": self._key(sha256),
            "Body": data,
            "ContentType": "application/octet-stream",
            "ContentMD5": base64.b64encode(
                hashlib.md5(data, usedforsecurity=False).digest()
            ).decode(),
        }
        if is_new and self._can_put_once:
            request["IfNoneMatch"] = "*"
        try:
            with _store_errors(sha256):
                self._client.put_object(**request)
        except _ExistsError:
            return  # Another put of the same bytes has just ended.
        except _ConditionError as error:
            self._can_put_once = self._can_put_once and error.is_known
            self._write(sha256, data, is_new=False)


class _ExistsError(Exception):
    """`If-None-Match` did not hold."""


class _ConditionError(Exception):
    """The store could not decide about `If-None-Match`: put without it."""

    def __init__(self, *, is_known: bool) -> None:
        self.is_known = is_known
        """Whether it knows the condition, and only another put of this blob is under way."""


def open_s3_store(bucket: str, prefix: str) -> S3BlobStore:
    """Open the store that the environment of boto3 names. Sends nothing yet.

    Raises:
        BlobStoreUnavailableError: If boto3 finds that environment wrong.
    """
    with _store_errors(""):
        client = _client("auto")
        if not (urlsplit(client.meta.endpoint_url).hostname or "").endswith(
            (".amazonaws.com", ".amazonaws.com.cn")
        ):
            # Other stores seldom have a host name for each bucket.
            client = _client("path")
    return S3BlobStore(client, bucket, prefix)


def _client(addressing_style: str) -> Any:
    config = Config(
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        max_pool_connections=4 * THREADS,
        # boto3's newer checksums are unknown to many stores; an MD5 goes along, and a SHA-256 is verified at every get.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": addressing_style},
        user_agent_extra="filopodia",
    )
    # A session of its own: boto3's default one is not safe to share among threads.
    return boto3.session.Session().client("s3", config=config)


@contextmanager
def _store_errors(sha256: str) -> Iterator[None]:
    """Turn what boto3 raises about a blob into our errors."""
    try:
        yield
    except BotoCoreError as error:
        raise BlobStoreUnavailableError(str(error)) from error
    except ClientError as error:
        raise _sort(error, sha256) from error


def _sort(error: ClientError, sha256: str) -> Exception:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    if sha256 and code in ("NoSuchKey", "NotFound", "404"):
        return BlobMissingError(sha256)
    if code == "PreconditionFailed":
        return _ExistsError()
    if code in ("ConditionalRequestConflict", "NotImplemented"):
        return _ConditionError(is_known=code != "NotImplemented")
    return StorageFullError() if status == 507 else BlobStoreUnavailableError(str(error))


def _map(function: Callable[[ItemT], ResultT], items: list[ItemT]) -> list[ResultT]:
    if len(items) <= 1:
        return [function(item) for item in items]
    with ThreadPoolExecutor(min(THREADS, len(items))) as pool:
        return list(pool.map(function, items))


def _batches(blobs: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Cut a stream of blobs into batches that are held in memory at a time."""
    rest = iter(blobs)
    for first in rest:
        batch, size_bytes = [first], len(first)
        for data in itertools.islice(rest, BATCH_BLOBS):
            batch.append(data)
            size_bytes += len(data)
            if size_bytes >= BATCH_BYTES:
                break
        yield batch
