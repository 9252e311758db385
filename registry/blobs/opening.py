"""Opening the blob store that the settings name: a folder, or a bucket of an S3-compatible store."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from registry.blobs.store import BlobStore, LocalBlobStore
from registry.errors import BlobLocationError


def open_blob_store(location: str) -> BlobStore:
    """Open the blob store at a folder, `file:` URL, or `s3://bucket/prefix`. Creates nothing until the first write.

    Raises:
        BlobLocationError: If the URL is none of these, or the store needs a package that is not installed.
    """
    if "://" not in location and not location.startswith("file:"):
        return LocalBlobStore(Path(location))
    url = urlsplit(location)
    if url.scheme == "s3" and url.netloc:
        return _open_s3(url.netloc, url.path.strip("/"))
    if url.scheme != "file" or url.netloc not in ("", "localhost"):
        raise BlobLocationError(
            "BLOB_URL must be a folder, a file: URL such as file:///srv/blobs, or s3://bucket/prefix."
        )
    return LocalBlobStore(Path(unquote(url.path)))


def _open_s3(bucket: str, prefix: str) -> BlobStore:
    try:
        # An optional extra, and slow to load: only for those who use it.
        from registry.blobs.s3 import open_s3_store
    except ModuleNotFoundError as error:
        raise BlobLocationError(
            "Blobs in S3 need boto3: install filopodia with the extra s3, pip install 'filopodia[s3]'."
        ) from error
    return open_s3_store(bucket, prefix)
