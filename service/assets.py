"""The dashboard's static files: our own, and Plotly's JavaScript out of the installed package.

Their addresses carry a digest of their content, so browsers keep them for good and still see a change at once.
"""

import gzip
import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from threading import Lock

PLOTLY = "plotly.min.js"
MEDIA_TYPES = {
    "choose.js": "text/javascript; charset=utf-8",
    "dashboard.css": "text/css; charset=utf-8",
    "enter.js": "text/javascript; charset=utf-8",
    "import.js": "text/javascript; charset=utf-8",
    "live.js": "text/javascript; charset=utf-8",
    "select.js": "text/javascript; charset=utf-8",
    "teach.js": "text/javascript; charset=utf-8",
    "camera.js": "text/javascript; charset=utf-8",
    "plots.js": "text/javascript; charset=utf-8",
    "reference.css": "text/css; charset=utf-8",
    "reference.js": "text/javascript; charset=utf-8",
    "review.js": "text/javascript; charset=utf-8",
    "try.js": "text/javascript; charset=utf-8",
    "logo.svg": "image/svg+xml",
    PLOTLY: "text/javascript; charset=utf-8",
}


_COMPRESSING = Lock()
"""Many who ask for Plotly's at first together must not each compress it."""


@dataclass(frozen=True)
class Asset:
    """One static file, ready to be sent."""

    media_type: str
    body: bytes
    digest: str

    @property
    def compressed(self) -> bytes:
        """Its body in gzip. At first, Plotly's takes a third of a second: not for the event loop."""
        with _COMPRESSING:
            return _compressed(self.body)


def asset_url(name: str) -> str:
    """Return the address of an asset, with its digest."""
    return f"/admin/static/{name}?v={load_asset(name).digest}"


def load_asset(name: str) -> Asset:
    """Read an asset; the first time only.

    Raises:
        KeyError: If there is none of this name.
    """
    return _load(name, MEDIA_TYPES[name])


@lru_cache(maxsize=len(MEDIA_TYPES))
def _load(name: str, media_type: str) -> Asset:
    folder = files("plotly") / "package_data" if name == PLOTLY else files("service") / "static"
    body = (folder / name).read_bytes()
    digest = hashlib.sha256(body).hexdigest()[:16]
    return Asset(media_type, body, digest)


@lru_cache(maxsize=len(MEDIA_TYPES))
def _compressed(body: bytes) -> bytes:
    return gzip.compress(body, compresslevel=6, mtime=0)


@lru_cache(maxsize=1)
def plotly_style_id() -> str:
    """Return the id under which Plotly's map library looks for its styles before it adds them inline.

    Our policy forbids inline styles, and we draw no maps: an element of this id keeps it from trying.
    """
    script = load_asset(PLOTLY).body.decode()
    match = re.search(r'getElementById\("([0-9a-f]{64})"\)', script)
    return match.group(1) if match else "no-plotly-style"
