"""Settings of the service process, read once from the environment by `service.main`."""

import os
import re
from ipaddress import ip_network
from pathlib import Path

from pydantic import Field, SecretStr, field_validator

from registry.environment import Listed
from registry.settings import DEVICES, RegistrySettings, with_password

MIB = 1024 * 1024
_ROOT_PATH = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*")
_OUR_PATHS = ("admin", "docs", "livez", "metrics", "openapi.json", "problems", "readyz", "v1")
_BROKER = re.compile(r"mqtts?://(?:[^@/\s]+@)?(?:\[[0-9a-f:.]+\]|[^@:/?#\s]+)(?::[0-9]{1,5})?/?")
_HOST_NAME = re.compile(r"(?=.*[a-z])[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?\.?", re.IGNORECASE)
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[a-z0-9._\[\]:-]+")


def host_name(host: str) -> str:
    """Return the name in a Host header, without the port.

    Example:
        >>> host_name("Example.org:8000"), host_name("[::1]:8000"), host_name("::1")
        ('example.org', '[::1]', '[::1]')
    """
    if host.startswith("["):
        return host.rsplit("]", 1)[0].lower() + "]"
    return f"[{host.lower()}]" if host.count(":") > 1 else host.split(":")[0].lower()


def _origin(text: str) -> str:
    """Return an origin as browsers write it.

    Example:
        >>> _origin("HTTPS://Example.org:443/"), _origin("http://localhost:3000")
        ('https://example.org', 'http://localhost:3000')
    """
    origin = text.lower().removesuffix("/")
    scheme, _, _ = origin.partition("://")
    return origin.removesuffix({"https": ":443", "http": ":80"}.get(scheme, "/"))


def _is_place(text: str) -> bool:
    """Return whether this is an address, a network or a name of a host.

    Example:
        >>> [_is_place(text) for text in ("192.168.1.20", "fd00::/8", "home.local", "10.0.0.300", "http://a.b", "*")]
        [True, True, True, False, False, False]
    """
    try:
        ip_network(text)
    except ValueError:
        return _HOST_NAME.fullmatch(text) is not None
    return True


class ServiceSettings(RegistrySettings):
    """What an operator can change about the HTTP side. Every field is `FILOPODIA_<NAME>` in the environment."""

    host: str = "127.0.0.1"
    """Address to listen on. Local by default: put a TLS proxy in front before opening it to a network."""
    port: int = Field(default=8000, ge=0, le=65535)
    """Port to listen on; 0 takes a free one, which `<data>/service.json` then names."""
    allowed_hosts: Listed = ("*",)
    """Names in Host headers that are answered. `*` is any well-formed one: every request needs a key anyway."""
    forwarded_allow_ips: Listed = ()
    """Addresses, networks or names of proxies whose `X-Forwarded-*` headers are believed; none by default. A name
    stands for the addresses that it has now. Never `*`."""
    root_path: str = ""
    """Path that a proxy puts before ours, such as `/filopodia`, whether it takes it away again or passes it on."""
    cors_origins: Listed = ()
    """Origins whose pages may use the API with a key of theirs, such as `https://app.example.org`; `*` is any. None by
    default."""
    https_only_cookie: bool = False
    """Whether the dashboard cookie is sent over TLS only. Turn on behind a TLS proxy."""
    max_connections: int = Field(default=2000, ge=1)
    """Open connections before idle ones are closed for new ones, those without a valid key first, and requests under
    way before new ones get 503. Fewer where the system allows fewer open files."""
    request_deadline_s: float = Field(default=10.0, gt=0)
    """Seconds for a request's headers to arrive, and for an answer to begin to be read; a connection that takes longer
    is dropped."""
    body_bytes_per_s: int = Field(default=100_000, ge=1)
    """Slowest upload that is waited for: the body may take the header deadline + its size / this. So may an answer."""
    drain_s: float = Field(default=0.0, ge=0, le=3600)
    """Seconds that a service goes on after SIGTERM, not ready and closing connections after their next answer, so that
    a proxy sends nothing more to it; Ctrl-C does not wait. 0 without a proxy."""
    graceful_stop_s: int = Field(default=20, ge=1)
    """Seconds that running requests get to end after SIGTERM."""

    max_task_images: int = Field(default=20_000, ge=1)
    """Images in one task."""
    max_task_bytes: int = Field(default=2048 * MIB, ge=1)
    """Bytes of one task's upload, and of what its archive unpacks to."""
    max_image_bytes: int = Field(default=48 * MIB, ge=1)
    """Bytes of one encoded image: JPEGs of 100 megapixels have up to 45 MB."""
    max_image_pixels: int = Field(default=100_000_000, ge=1)
    """Pixels of one image before decoding; what `max_decode_bytes` does not allow is refused below that."""
    max_decode_bytes: int = Field(default=480_000_000, ge=1_000_000)
    """Memory one image may take while it is decoded, and half of what all together may: `docs/photos.md` says how many
    megapixels of each format that is."""
    max_predict_images: int = Field(default=64, ge=1)
    """Images in one prediction request."""
    max_predict_pixels: int = Field(default=1_000_000_000, ge=1)
    """Work that decoding the images of one prediction request may take, in pixels of PNG (`docs/photos.md`): 64 photos
    of 12 megapixels pass in every format."""
    max_predict_bytes: int = Field(default=64 * MIB, ge=1)
    """Bytes of one prediction request; chosen as a bound for memory, untested beyond that."""
    max_json_bytes: int = Field(default=MIB, ge=1)
    """Bytes of a JSON body without images."""
    max_json_task_bytes: int = Field(default=64 * MIB, ge=1)
    """Bytes of a JSON body with images of a task: it is held in memory whole, unlike the other two forms."""
    max_held_body_bytes: int = Field(default=128 * MIB, ge=1)
    """Bytes of bodies held in memory by all requests together, and of one key two thirds at most; more get 503. At
    least those of one prediction or task as JSON."""
    large_body_bytes_per_s: int = Field(default=32 * MIB, ge=0)
    """How fast bodies beyond their first MiB are read, all requests together, so that predictions keep the processor; 0
    is as fast as they come. `python -m benchmarks.bad_input`."""
    max_bundle_bytes: int = Field(default=1024 * MIB, ge=1)
    """Bytes of an imported version: while it is proved it is held in memory about twice."""
    min_images: int = Field(default=2, ge=1)
    """Fewest images a class may come with."""
    min_free_bytes: int = Field(default=512 * MIB, ge=0)
    """Free space on the data disk below which uploads are refused with 507."""
    upload_slots: int = Field(default=4, ge=1)
    """Uploads decoded at the same time; more get 503."""
    decode_threads: int = Field(default_factory=lambda: min(4, os.cpu_count() or 1), ge=1)
    """Threads that decode images, shared by uploads and predictions."""

    device: str = Field(
        default="auto", pattern="^(auto|cpu|cuda|cuda:[0-9]+)$", description=DEVICES
    )
    """Where predictions run; `auto` takes a GPU when there is one."""
    torch_threads: int | None = Field(default=None, ge=1)
    """Threads of torch and of ONNX Runtime for predictions. None leaves torch's own default, the number of cores."""
    onnx_runtime: bool = True
    """Whether predictions on a CPU run as one graph by ONNX Runtime: the same but for rounding, in less time. PyTorch
    runs what it cannot."""
    backbone_weights: Path | None = None
    """Safetensors file, or folder of such, that timm backbones are loaded from instead of the hub. Backgrounds lie
    beside them."""
    max_batch: int = Field(default=64, ge=1)
    """Most images that are scored in one go."""
    batch_wait_ms: float = Field(default=2.0, ge=0)
    """How long a batch that is not full waits for company; chosen well below one forward pass, untested."""
    max_wait_s: float = Field(default=5.0, gt=0)
    """Longest estimated wait in the queue; a request that would wait longer gets 503 with `Retry-After`."""
    watch_s: float = Field(default=1.0, gt=0)
    """Seconds between two looks at which version of each learner is live, and which keys are valid. What the database
    tells of is seen at once."""
    older_versions: int = Field(default=4, ge=1)
    """Versions other than the live ones that stay loaded once they were asked for with `?version=`."""
    max_loaded_bytes: int = Field(default=1024 * MIB, ge=0)
    """Bytes of learned versions held in memory, backbones aside; those used longest ago are dropped, and loaded again
    when they are asked for. The last one used stays, whatever its size."""
    prediction_backlog: int = Field(default=10_000, ge=1)
    """Answered predictions waiting to be stored; beyond it they are counted and dropped."""
    keep_prediction_images: bool = True
    """Whether the images of stored predictions are kept, so that feedback on them can be learned from."""
    prediction_image_backlog_bytes: int = Field(default=64 * MIB, ge=0)
    """Bytes of pixels held in memory until such images are written; beyond it answers are stored without theirs."""
    keep_predictions_days: int = Field(default=30, ge=0, le=36_500)
    """Days until a stored prediction is deleted with its images, unless its feedback waits to be learned; 0: never."""

    backup_days: int = Field(default=7, ge=0, le=36_500)
    """Days after which a backup counts as old, and the dashboard says so; 0: never."""

    predict_images_per_minute: int = Field(default=60_000, ge=0)
    """Images a key may have predicted within a minute, in each service process; 0: any number. Keys may have quotas of
    their own, and admin keys are bound by those only."""
    predict_pixels_per_minute: int = Field(
        default_factory=lambda: 1_500_000_000 * (os.cpu_count() or 1), ge=0
    )
    """Work of decoding that a key's predictions may cause within a minute, in pixels of PNG, in each service process.
    Default: 1,500 million a core, about half of what it can do; 0: any amount."""
    changes_per_minute: int = Field(default=1200, ge=0)
    """Requests that change something, predictions aside, that a key may send within a minute; 0: any number."""
    tasks_per_day: int = Field(default=10_000, ge=0)
    """Tasks that may be posted with a key within 24 hours; 0: any number."""
    images_per_day: int = Field(default=2_000_000, ge=0)
    """Images to learn from that may be posted with a key within 24 hours; 0: any number."""
    max_classes: int = Field(default=10_000, ge=0)
    """Classes that a learner may have; 0: any number."""

    notify_allow: Listed = ()
    """Addresses, networks and names of hosts that messages to subscribers may go to besides the public internet, such
    as `192.168.1.20, 10.1.0.0/16, home.local`; none by default. A name stands for whatever addresses it has."""
    mqtt_url: SecretStr | None = None
    """Broker for subscriptions whose messages go to MQTT: `mqtt://user:password@host:1883`, or `mqtts://` for TLS."""
    mqtt_password_file: Path | None = None
    """File with the password to put into `FILOPODIA_MQTT_URL`."""
    mqtt_prefix: str = "filopodia"
    """What the topics of all messages begin with."""

    embedded_worker: bool | None = None
    """Whether `serve` starts a worker of its own. Default: only without `REDIS_URL`."""

    @field_validator("allowed_hosts")
    @classmethod
    def _are_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or any("/" in name or " " in name for name in value):
            raise ValueError("names of hosts such as example.org, with commas between them")
        return tuple(host_name(name) for name in value)

    @field_validator("root_path")
    @classmethod
    def _is_path(cls, value: str) -> str:
        path = "/" + value.strip("/") if value.strip("/") else ""
        is_ours = path.split("/")[1:2] and path.split("/")[1] in _OUR_PATHS
        if value.startswith("//") or is_ours or not _ROOT_PATH.fullmatch(path):
            raise ValueError(
                "a path such as /filopodia, of letters of ASCII, digits and ._~-, that begins with no path of ours"
            )
        return path

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        origins = tuple(_origin(text) for text in value)
        if not all(origin == "*" or _ORIGIN.fullmatch(origin) for origin in origins):
            raise ValueError(
                "origins such as https://example.org, without a path, with commas between them"
            )
        return origins

    @field_validator("notify_allow")
    @classmethod
    def _can_be_allowed(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(map(_is_place, value)):
            raise ValueError(
                "addresses, networks and names of hosts such as 192.168.1.20, 10.1.0.0/16, home.local"
            )
        return value

    @field_validator("mqtt_url")
    @classmethod
    def _is_broker(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _BROKER.fullmatch(value.get_secret_value()):
            raise ValueError("a URL such as mqtt://host:1883")
        return value

    @field_validator("mqtt_prefix")
    @classmethod
    def _is_topic(cls, value: str) -> str:
        if not value.isprintable() or {"+", "#", "$"} & {*value}:
            raise ValueError("the beginning of a topic, such as home/filopodia")
        return value

    def mqtt_dsn(self) -> str | None:
        """Return the broker's URL with its password, or None if there is none.

        Raises:
            OSError: If the password's file cannot be read.
        """
        return with_password(self.mqtt_url, self.mqtt_password_file)

    @property
    def starts_worker(self) -> bool:
        """`embedded_worker`, or its default."""
        return self.redis_url is None if self.embedded_worker is None else self.embedded_worker
