"""A folder and a bucket, as a test gets at what a store keeps there."""

from registry.blobs.opening import open_blob_store
from registry.blobs.store import LocalBlobStore

BUCKET = "learners"


class Folder:
    """A folder as a test gets at what a store keeps there."""

    def __init__(self, root):
        self.store = LocalBlobStore(root)

    def overwrite(self, sha256, data):
        (self.store.root / "sha256" / sha256[:2] / sha256[2:]).write_bytes(data)

    def add_strange_name(self):
        (self.store.root / "sha256" / "ab").mkdir(parents=True)
        (self.store.root / "sha256" / "ab" / "notes.txt").touch()


class Bucket:
    """A bucket, likewise."""

    def __init__(self, client):
        self.store = open_blob_store(f"s3://{BUCKET}/some/prefix")
        self._client = client

    def overwrite(self, sha256, data):
        key = f"some/prefix/sha256/{sha256[:2]}/{sha256[2:]}"
        assert self._client.head_object(Bucket=BUCKET, Key=key)
        self._client.put_object(Bucket=BUCKET, Key=key, Body=data)

    def add_strange_name(self):
        for key in ("some/prefix/sha256/ab/notes.txt", "elsewhere", "some/prefix/sha256ab"):
            self._client.put_object(Bucket=BUCKET, Key=key, Body=b"")
